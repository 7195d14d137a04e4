"""A check's report for a person to read, with the markup of rich."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape

from m6rec.data.report import Example, Problem, Report

COLOURS = {"error": "red", "warning": "yellow"}


def as_text(report: Report) -> str:
    """Lines with rich markup: the tables, each problem with its first rows, and the totals.

    Values from the data are escaped, so an item called "[red]" is shown as it is.
    """
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"[bold]{escape(report.folder)}[/bold]"
    for table in report.tables:
        line = f"  {escape(table.file)}: {_count(table.rows, 'row')}"
        if table.rejected:
            line += f", [red]{table.rejected:,} rejected[/red]"
        if table.name in report.rejects:
            line += f" (written to {escape(report.rejects[table.name])})"
        yield line
    for problem in report.problems:
        yield ""
        yield from _problem(problem)
    yield ""
    yield _total(report)


def _problem(problem: Problem) -> Iterator[str]:
    colour = COLOURS[problem.severity]
    where = escape(f"{problem.table}.{problem.column}".rstrip("."))
    what = f"[{colour}]{problem.severity}[/{colour}] [bold]{where}[/bold]"
    rows = any(example.row is not None for example in problem.examples)
    times = f" ({_count(problem.count, 'time')})" * rows
    yield f"{what}: {escape(problem.problem)}{times}"
    yield from (_example(example) for example in problem.examples)
    if rows and problem.count > len(problem.examples):
        yield f"  … and {problem.count - len(problem.examples):,} more"
    yield f"  right: {escape(problem.right)}"


def _example(example: Example) -> str:
    places = {"row": example.row, "line": example.line}
    where = ", ".join(f"{name} {number:,}" for name, number in places.items() if number is not None)
    return f"  {where}: {escape(example.value)}" if where else f"  {escape(example.value)}"


def _total(report: Report) -> str:
    if not report.problems:
        return "[green]No problem found.[/green]"
    verdicts = (
        "Every row can be used.",
        "Rows with errors are left out when the data is loaded.",
        "The data can not be loaded as it stands.",
    )
    found = f"{_count(report.errors, 'error')}, {_count(report.warnings, 'warning')}"
    return f"{found}. {verdicts[report.exit_code]}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)
