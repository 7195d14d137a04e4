"""Who sees whom, against matrices written by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from m6rec.model.masks import Layout, all_of, any_of, key_in_source, same_group, unilm
from m6rec.model.masks import within_segment as within
from m6rec.model.plans import seen_positions

# Two source segments a, b, one padding token, then candidates c and d.
LAYOUT = Layout(
    valid_BT=torch.tensor([[1, 1, 1, 0, 1, 1, 1]]).bool(),
    source_BT=torch.tensor([[1, 1, 1, 1, 0, 0, 0]]).bool(),
    segment_BT=torch.tensor([[0, 0, 1, 1, 2, 2, 3]]),
    group_BT=torch.tensor([[0, 0, 0, 0, 1, 1, 2]]),
)


def matrix(rows: str) -> Tensor:
    """ "x" where the row's token sees the column's."""
    return torch.tensor([[sign == "x" for sign in row] for row in rows.split()])[None]


def test_unilm_is_the_matrix_of_the_paper() -> None:
    expected = matrix(
        """
        xxx....
        xxx....
        xxx....
        xxx....
        xxx.x..
        xxx.xx.
        xxx...x
        """
    )
    assert torch.equal(unilm(LAYOUT), expected)


def test_within_segment_sees_only_its_own_valid_tokens() -> None:
    expected = matrix(
        """
        xx.....
        xx.....
        ..x....
        ..x....
        ....xx.
        ....xx.
        ......x
        """
    )
    assert torch.equal(within(LAYOUT), expected)


def test_the_source_never_sees_a_target_and_candidates_never_see_each_other() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        group_BT = torch.randint(0, 4, (3, 17)).sort(1).values
        layout = Layout(torch.rand(3, 17) > 0.3, group_BT == 0, group_BT, group_BT)
        mask = unilm(layout)
        query, key = group_BT[:, :, None], group_BT[:, None, :]
        assert not mask[(query == 0) & (key > 0)].any()
        assert not mask[(query > 0) & (key > 0) & (query != key)].any()
        assert not mask[~layout.valid_BT[:, None, :].expand_as(mask)].any()
        open_ = (key == 0) & layout.valid_BT[:, None, :]
        assert mask[open_.expand_as(mask)].all()


def test_predicates_combine_as_and_and_or() -> None:
    both = all_of(key_in_source, same_group)(LAYOUT)
    either = any_of(key_in_source, same_group)(LAYOUT)
    assert both[0, 0].tolist() == [True] * 4 + [False] * 3
    assert both[0, 6].tolist() == [False] * 7
    assert either[0, 6].tolist() == [True] * 4 + [False, False, True]


def test_positions_skip_padding_and_start_again_at_every_candidate() -> None:
    positions = seen_positions(LAYOUT, unilm(LAYOUT))
    assert positions.tolist() == [[0, 1, 2, 0, 3, 4, 3]]
