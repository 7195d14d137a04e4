"""The verbs as a person runs them: exit codes, words on the screen, JSON for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

import tiny
from m6rec.cli.app import SPIN, VERBS, as_one_word, build_app, spin_less

QUICK = ["--set", "epochs=2", "--set", "batch=16", "--set", "bf16=false"]


def run(*words: str) -> Result:
    return CliRunner().invoke(build_app([words[0]]), list(words))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny shop (data), a backbone (model) and a tuned task (adapter)."""
    folder = tmp_path_factory.mktemp("world")
    tiny.write_shop(folder / "data")
    tiny.write_backbone(folder / "model")
    result = run(*tuning(folder, "retrieve", folder / "adapter"))
    assert result.exit_code == 0, result.output
    return folder


def tuning(world: Path, task: str, out: Path, *more: str) -> list[str]:
    where = ["--data", str(world / "data"), "--model", str(world / "model"), "--out", str(out)]
    split = "leave-one-out" if task == "retrieve" else "temporal"
    return ["tune", task, *where, "--split", split, *QUICK, *more]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert "--json" in result.output


@pytest.mark.parametrize("words", [["--help"], [], ["edge"], ["tume"]])
def test_the_list_of_verbs_waits_for_no_library_of_the_network(words: list[str]) -> None:
    said = "import sys; from m6rec.cli.app import main\ntry: main()\nfinally: "
    said += "print('torch' in sys.modules, 'polars' in sys.modules)"
    asked = [sys.executable, "-c", said, *words]
    found = subprocess.run(asked, check=False, capture_output=True, text=True)
    shown = found.stdout + found.stderr
    assert found.stdout.endswith("False False\n")
    assert "Did you mean 'tune'?" in shown if words == ["tume"] else "edge export" in shown
    assert ("tune" in shown) == (words != ["edge"])


def test_check_of_good_data_is_zero_and_of_bad_data_is_one(world: Path, tmp_path: Path) -> None:
    assert run("check", str(world / "data")).exit_code == 0
    rows = pl.read_parquet(world / "data" / "events.parquet").head(3)
    rows.with_columns(item_id=pl.Series(["", "", "red-shoe"])).write_csv(tmp_path / "events.csv")
    more = ["--json", str(tmp_path / "report.json"), "--rejects", str(tmp_path / "bad")]
    result = run("check", str(tmp_path), *more)
    assert result.exit_code == 1
    assert len((tmp_path / "bad" / "events.rejects.jsonl").read_text().splitlines()) == 2
    assert "item_id" in result.output
    assert json.loads((tmp_path / "report.json").read_text())["errors"] == 2


def test_a_missing_folder_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "nowhere" in result.output
    assert "Traceback" not in result.output


def test_tune_writes_only_the_adapter_and_says_what_it_trained(world: Path) -> None:
    found = sorted(path.name for path in (world / "adapter").iterdir())
    assert found == ["task.json", "task.safetensors"]
    assert not (world / "adapter.run").exists()


def test_tune_ranking_by_kinds_and_by_json(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    result = run(*tuning(world, "rank", tmp_path / "rank", "--json", str(out)))
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["task"] == "rank"
    assert len(found["history"]) == 2
    assert 0 < found["trainable_share"] < 1


def test_an_unknown_setting_names_the_nearest_one(world: Path, tmp_path: Path) -> None:
    result = run(*tuning(world, "retrieve", tmp_path / "x", "--set", "max_hystory=3"))
    assert result.exit_code == 2
    assert "max_history" in result.output


def test_eval_gives_figures_with_their_card(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    words = ["--data", str(world / "data"), "--model", str(world / "model")]
    words += ["--split", "leave-one-out", "--json", str(out)]
    result = run("eval", "retrieve", *words, "--adapter", str(world / "adapter"))
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["card"]["split"].startswith("leave-one-out")
    hits = found["metrics"]["hr@10"]
    assert hits["low"] <= hits["value"] <= hits["high"]


def test_recommend_for_a_user_and_for_a_written_history(world: Path, tmp_path: Path) -> None:
    words = ["--data", str(world / "data"), "--model", str(world / "model"), "-k", "3"]
    out = tmp_path / "found.json"
    result = run("recommend", *words, "--user", "u0", "--json", str(out))
    assert result.exit_code == 0, result.output
    assert len(json.loads(out.read_text())["items"]) == 3
    result = run("recommend", *words, "--history", "clicked: red shoe")
    assert result.exit_code == 0
    assert "red" in result.output
    result = run("recommend", *words, "--history", "clicked: [/red] shoe", "--why", "--json", "-")
    assert result.exit_code == 0, result.output
    told = [one["reason"]["text"] for one in json.loads(result.output)["items"]]
    assert told == ["Its words are near those of “[/red] shoe”."] * 3
    assert run("recommend", *words).exit_code == 2
    result = run("recommend", *words, "--history", '{"event": "click"')
    assert result.exit_code == 2 and "is no JSON" in result.output


def test_json_to_stdout_is_nothing_but_json(world: Path) -> None:
    words = ["--data", str(world / "data"), "--model", str(world / "model"), "--user", "u0"]
    result = run("recommend", *words, "--json", "-")
    assert json.loads(result.stdout)["user"] == "u0"


def test_the_demo_too_says_nothing_but_json_on_stdout(world: Path, tmp_path: Path) -> None:
    words = ["--data", str(world / "data"), "--model", str(world / "model"), "--minutes", "0.01"]
    result = run("demo", *words, "--out", str(tmp_path / "demo"), "--json", "-")
    assert set(json.loads(result.stdout)["results"]) == {"retrieve", "rank"}


def test_a_file_that_can_not_be_written_is_one_line_and_exit_code_two(
    world: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    words = ["--data", str(world / "data"), "--model", str(world / "model"), "--user", "u0"]
    result = run("recommend", *words, "--json", str(tmp_path / "file" / "found.json"))
    assert result.exit_code == 2
    assert "file" in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_cap_on_the_events_of_a_user_is_on_the_card(world: Path, tmp_path: Path) -> None:
    cap = ["--max-events-per-user", "9"]
    tuned = run(*tuning(world, "retrieve", tmp_path / "capped", *cap))
    assert tuned.exit_code == 0, tuned.output
    about = json.loads((tmp_path / "capped" / "task.json").read_text("utf-8"))
    words = "max_events_per_user 9: "
    assert any(line.startswith(words) for line in about["trained_on"]["card"]["filters"])
    where = ["--data", str(world / "data"), "--model", str(world / "model")]
    told = tmp_path / "eval.json"
    figures = run("eval", "retrieve", *where, *cap, "--json", str(told))
    assert figures.exit_code == 0, figures.output
    assert words in told.read_text("utf-8")
    wrong = run("eval", "retrieve", *where, "--max-events-per-user", "many")
    assert wrong.exit_code == 2 and "max_events_per_user = 'many'" in wrong.output
    bench = run("bench", "retrieve", *where, "--max-events-per-user", "0")
    assert bench.exit_code == 2 and "right is a number of events" in bench.output


def test_tune_into_the_folder_one_stands_in(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = run(*tuning(world, "retrieve", Path()))
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_import_by_a_column_map(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("visitor,sku,ts\na,1,1600000000000\na,2,1600000001000\n")
    columns = "user_id=visitor,item_id=sku,event='click',timestamp=ts:ms"
    words = ["columns", str(tmp_path / "log.csv"), str(tmp_path / "data"), "--columns", columns]
    result = run("import", *words)
    assert result.exit_code == 0, result.output
    found = pl.read_parquet(tmp_path / "data" / "events.parquet")
    assert found["timestamp"].to_list() == [1_600_000_000.0, 1_600_000_001.0]
    assert run("import", "nonsense", str(tmp_path), str(tmp_path / "y")).exit_code == 2


def test_convert_of_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    result = run("convert-hf", str(tmp_path / "none"), str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "none" in result.output


def test_demo_goes_the_whole_way_on_own_data(world: Path, tmp_path: Path) -> None:
    words = ["--data", str(world / "data"), "--model", str(world / "model")]
    out = tmp_path / "result.json"
    words += ["--out", str(tmp_path / "demo"), "--minutes", "0.01", "--json", str(out)]
    result = run("demo", *words)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert set(found["results"]) == {"retrieve", "rank"}
    assert len(found["recommendations"]["tuned"]) == 3
    assert (tmp_path / "demo" / "retrieve.html").is_file()


def test_a_verb_may_have_two_words() -> None:
    for given, verb, left in (
        (["m6rec", "bench", "latency", "--help"], "bench latency", ["--help"]),
        (["m6rec", "bench", "retrieve"], "bench", ["retrieve"]),
        (["m6rec"], "", []),
    ):
        assert as_one_word(given) == verb
        assert given[2:] == left


def test_threads_of_pytorch_wait_briefly_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    spin_less()
    assert os.environ["GOMP_SPINCOUNT"] == SPIN
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    spin_less()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    spin_less()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_tuning_without_valid_rows_tells_no_score_and_says_which_epoch_was_kept(
    world: Path, tmp_path: Path
) -> None:
    data = tmp_path / "few"
    data.mkdir()
    rows = [
        {
            "history": [{"event": "like", "text": "red shoe"}],
            "candidates": [{"text": f"{colour} tent"}],
            "labels": [label],
        }
        for colour, label in (("red", 1), ("blue", 0), ("green", 0))
    ]
    for part in ("valid", "test"):
        lines = "\n".join(json.dumps(row) for row in rows)
        (data / f"requests.{part}.jsonl").write_text(lines + "\n", encoding="utf-8")
    out = tmp_path / "result.json"
    words = ["--data", str(data), "--model", str(world / "model"), "--out", str(tmp_path / "a")]
    result = run("tune", "rank", *words, *QUICK, "--json", str(out))
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["best_score"] is None
    assert found["best_epoch"] == len(found["history"]) - 1
    assert set(found["history"][0]) == {"epoch", "loss", "seconds"}
    assert "the last epoch was kept" in result.output
    assert "score" not in result.output.partition("the last epoch")[0]


def test_a_task_that_is_not_tuned_names_the_command_that_tunes_it(world: Path) -> None:
    words = ["--data", str(world / "data"), "--model", str(world / "model")]
    result = run("eval", "rank", *words, "--split", "temporal")
    told = " ".join(result.output.split())
    assert result.exit_code == 2
    assert "rank is not tuned yet: right is `m6rec tune rank --data DATA --out ADAPTER`" in told
    assert "then this command with --adapter ADAPTER" in told
    assert "load_adapter" not in told and "fit(" not in told
