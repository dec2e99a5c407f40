"""The catalogue, its stock, and vouchers."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comity.errors import AlreadyUsed, Malformed, NotFound, OutOfStock
from comity.ledger.command import Batch
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.v1 import member_pb2, merchant_pb2
from node.commands import PutReward, SetStock, UseVoucher
from node.rewards import (
    deliver_stock,
    free_stock,
    prefetch_rewards,
    reserve_stock,
    return_stock,
)
from node.vouchers import (
    issue_vouchers,
    new_code,
    prefetch_vouchers,
    read_code,
    void_unused,
)
from tests.brand import LEDGER, Brand, programme


def put(brand: Brand, stock: int, *, active: bool = True) -> member_pb2.Reward:
    reward = member_pb2.Reward(
        reward_id="coffee",
        title="A coffee",
        kind=member_pb2.REWARD_KIND_VOUCHER,
        price_points=300,
        stock=stock,
        active=active,
    )
    command = PutReward(
        caller="manager:ann", id=brand.new_id(), reward_id="coffee", reward=canonical(reward)
    )
    return brand.ask(command, merchant_pb2.PutRewardResponse).reward


def set_stock(brand: Brand, change: int) -> int:
    command = SetStock(caller="manager:ann", id=brand.new_id(), reward_id="coffee", change=change)
    return brand.ask(command, merchant_pb2.SetStockResponse).reward.stock


class Writing:
    """Rows of a brand, written when the block ends: what a redemption's rule would do."""

    def __init__(self, brand: Brand) -> None:
        self._transaction = brand.engine.begin()
        self._brand = brand

    def __enter__(self) -> Rows:
        self.rows = Rows(self._transaction.__enter__(), LEDGER, now_us=self._brand.now_us)
        prefetch_rewards(self.rows, ["coffee", "tea"])
        prefetch_vouchers(self.rows, ["rdm_1"])
        return self.rows

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.rows.flush()
        self._transaction.__exit__(*error)  # type: ignore[arg-type]


def test_stock_is_reserved_delivered_freed_and_returned() -> None:
    brand = Brand(programme())
    assert put(brand, 5).stock == 5
    with Writing(brand) as rows:
        reserve_stock(rows, "coffee", 3)
        deliver_stock(rows, "coffee", 2)
        free_stock(rows, "coffee", 1)
        return_stock(rows, "coffee", 1)
    (row,) = brand.rows("rewards")
    assert (row["stock"], row["reserved"], row["delivered"]) == (5, 0, 1)
    assert set_stock(brand, 2) == 6


def test_more_than_the_free_pieces_are_never_promised() -> None:
    brand = Brand(programme())
    put(brand, 3)
    with Writing(brand) as rows:
        for _ in range(3):
            reserve_stock(rows, "coffee", 1)
        with pytest.raises(OutOfStock):
            reserve_stock(rows, "coffee", 1)
    with pytest.raises(OutOfStock):
        set_stock(brand, -1)


def test_only_rewards_on_offer_are_reserved() -> None:
    brand = Brand(programme())
    put(brand, 3, active=False)
    with Writing(brand) as rows:
        for reward_id in ("coffee", "tea"):
            with pytest.raises(NotFound):
                reserve_stock(rows, reward_id, 1)
    assert brand.store.rewards(limit=0, cursor="").items == []


def test_an_unlimited_reward_never_runs_out_until_it_gets_a_stock() -> None:
    brand = Brand(programme())
    assert put(brand, -1).stock == -1
    with Writing(brand) as rows:
        reserve_stock(rows, "coffee", 1_000)
    with pytest.raises(Malformed):
        set_stock(brand, 5)
    # What is promised stays promised: the new stock is free beside it.
    assert put(brand, 4).stock == 4
    # Putting a limited reward again changes its texts, not its stock.
    assert put(brand, 99).stock == 4


def test_the_catalogue_is_listed_by_id() -> None:
    brand = Brand(programme())
    put(brand, 5)
    page = brand.store.rewards(limit=1, cursor="")
    assert [one.reward_id for one in page.items] == ["coffee"]
    assert brand.store.rewards(limit=1, cursor=page.next_cursor).items == []


# --- vouchers -------------------------------------------------------------------------------


def issue(brand: Brand, quantity: int) -> list[str]:
    with Writing(brand) as rows:
        batch = Batch(rows=rows, now_us=brand.now_us, size=0, random=random.Random(1).randbytes)
        return issue_vouchers(batch, reward_id="coffee", redemption_id="rdm_1", quantity=quantity)


def use(brand: Brand, code: str, *, till: str = "till:front", id_: str = "") -> UseVoucher:
    return UseVoucher(caller=till, id=id_ or brand.new_id(), code=read_code(code))


def test_a_voucher_is_used_once_and_a_retry_gets_the_same_answer() -> None:
    brand = Brand(programme())
    (code,) = issue(brand, 1)
    assert brand.store.voucher(code).state == "VALID"
    first = brand.ask(use(brand, code, id_="u1"), merchant_pb2.UseVoucherResponse)
    brand.pass_days(1)
    assert brand.ask(use(brand, code, id_="u1"), merchant_pb2.UseVoucherResponse) == first
    assert (first.voucher.state, first.voucher.redemption_id) == ("USED", "rdm_1")
    for till in ("till:front", "till:back"):
        with pytest.raises(AlreadyUsed):
            brand.do(use(brand, code, till=till))


def test_fifty_tills_with_one_voucher_sell_one_coffee() -> None:
    brand = Brand(programme())
    (code,) = issue(brand, 1)
    outcomes = brand.run(*[use(brand, code, till=f"till:t{n}") for n in range(50)])
    assert [type(one).__name__ for one in outcomes].count("Answer") == 1


def test_only_unused_vouchers_are_taken_back() -> None:
    brand = Brand(programme())
    codes = issue(brand, 3)
    brand.do(use(brand, codes[0]))
    with Writing(brand) as rows:
        assert void_unused(rows, "rdm_1") == 2
        assert void_unused(rows, "rdm_1") == 0
    with pytest.raises(AlreadyUsed, match="taken back"):
        brand.do(use(brand, codes[1]))


def test_an_unknown_code_is_not_found() -> None:
    brand = Brand(programme())
    code = new_code(random.Random(2).randbytes)
    with pytest.raises(NotFound):
        brand.do(use(brand, code))
    with pytest.raises(NotFound):
        brand.store.voucher(code)


@given(st.integers())
def test_a_code_has_letters_and_digits_only(seed: int) -> None:
    code = new_code(random.Random(seed).randbytes)
    assert re.fullmatch(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){3}-[0-9A-Z]", code)


def test_a_number_whose_check_symbol_is_no_letter_is_drawn_again() -> None:
    numbers = iter([*range(32, 37), 31])
    drawn = [new_code(lambda _: next(numbers).to_bytes(10)) for _ in range(2)]
    assert drawn == ["0000-0000-0000-0014-U", "0000-0000-0000-000Z-Z"]


@given(st.integers())
def test_a_code_is_read_as_people_type_it(seed: int) -> None:
    code = new_code(random.Random(seed).randbytes)
    typed = code.replace("-", " ").replace("0", "O").replace("1", "l").lower()
    assert read_code(typed) == read_code(code) == code


@pytest.mark.parametrize("code", [f"0000-0000-0000-001{n}-{s}" for n, s in enumerate("*~$=")])
def test_every_check_symbol_of_the_alphabet_is_read(code: str) -> None:
    assert read_code(code) == code


@given(st.integers(), st.integers(0, 15), st.integers(1, 31))
def test_one_wrong_symbol_is_a_typing_error(seed: int, place: int, change: int) -> None:
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    symbols = list(new_code(random.Random(seed).randbytes).replace("-", ""))
    symbols[place] = alphabet[(alphabet.index(symbols[place]) + change) % 32]
    with pytest.raises(Malformed):
        read_code("".join(symbols))
