"""From nothing to settled books, by commands alone, as the people of a new network would type."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.failures import UNDECIDED
from cli.main import run
from comity.wallet.wallet import Wallet

COMITY = Path(sys.executable).with_name("comity")
PATIENCE_S = 30.0


def ports(count: int) -> list[int]:
    """Free ports of this machine."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


@dataclass(frozen=True)
class Shell:
    """A folder in which commands are typed.

    They run in this process, which saves a second for each of the many; servers are processes,
    and so are the commands of `installed`.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "COMITY_WALLET": str(self.folder / "wallet"),
            "COMITY_CLEARING": str(self.folder / "clearing"),
        }

    def run(self, *words: str, expect: int = 0) -> Done:
        code, done = self._type(words)
        assert code == expect, f"{words}: {code}\n{done.stdout}{done.stderr}"
        return done

    def decided(self, *words: str) -> Any:
        """As `json`; what is undecided yet is repeated, as its advice says."""
        return self.until(lambda: self._typed_until_decided(words))

    def _typed_until_decided(self, words: Sequence[str]) -> Any:
        code, done = self._type((*words, "--json"))
        assert code in (0, UNDECIDED), f"{words}: {code}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout) if code == 0 else None

    def _type(self, words: Sequence[str]) -> tuple[int, Done]:
        said, told = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(told),
        ):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            code = run(list(words))
        return code, Done(said.getvalue(), told.getvalue())

    def installed(self, *words: str, expect: int = 0) -> Done:
        """The command as it is installed, in a process of its own."""
        done = subprocess.run(
            [COMITY, *words],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return Done(done.stdout, done.stderr)

    def json(self, *words: str, expect: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", expect=expect).stdout)

    def until(self, what: Callable[[], Any]) -> Any:
        """The first true answer, because what passes between organisations takes a moment."""
        end = time.monotonic() + PATIENCE_S
        while not (found := what()):
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.2)
        return found


def serve(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A server which runs and has said so."""
    with (folder / f"{words[0]}-{words[-1]}.log").open("w") as log:
        process = subprocess.Popen(
            [COMITY, *words, "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    assert "ports" in process.stdout.readline()
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    assert process.wait(timeout=30) == 0
    if process.stdout is not None:
        process.stdout.close()


@dataclass(frozen=True)
class Town:
    """A running network: clearing, a grocery and a filling station."""

    shell: Shell
    grocery: str
    fuel: str


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    shell = Shell(tmp_path_factory.mktemp("town"))
    listen = [f"127.0.0.1:{port}" for port in ports(6)]
    shell.installed("clearing", "init", "town.example", "--peer", listen[0], "--public", listen[1])
    servers = [serve(shell.folder, "clearing", "run", "--clearing", "clearing")]
    try:
        for brand, peer, public in (
            ("grocery", listen[2], listen[3]),
            ("fuel", listen[4], listen[5]),
        ):
            at = ("--peer", peer, "--public", public, "--node", brand)
            shell.run("node", "init", brand, "--network", "town.example", *at)
            answer = ("--cap", "1000.00 EUR", "--out", f"{brand}.admission")
            shell.run("clearing", "admit", f"{brand}/request.json", *answer)
            shell.run("node", "join", f"{brand}.admission", "--node", brand)
            servers.append(serve(shell.folder, "node", "run", "--node", brand))
        yield Town(shell=shell, grocery=listen[3], fuel=listen[5])
    finally:
        for server in reversed(servers):
            stop(server)


@pytest.mark.row("P21")
def test_a_new_network_comes_to_its_first_redemption_and_settles_it(town: Town) -> None:
    shell = town.shell
    # A member joins both brands and earns at one of them.
    ca = ("--ca", "clearing/ca.crt")
    account = shell.json("member", "enrol", town.grocery, *ca)["account"]
    shell.run("member", "enrol", town.fuel)
    sale = ("merchant", "purchase", account, "150.00 EUR", "--purchase", "sale-1")
    assert shell.json(*sale, "--node", "grocery")["points"] == 150
    assert shell.json(*sale, "--node", "grocery")["points"] == 150, "the same sale, counted once"

    # The brands agree, and one puts something on its shelf.
    terms = ("--conversion", "2/1", "--price", "1/1", "--currency", "EUR", "--fee-bp", "60")
    kinds = ("--kind", "reward", "--kind", "exchange", "--node", "grocery")
    sides = ("--issuer", "grocery", "--acceptor", "fuel")
    agreement = shell.json("merchant", "agreement", "propose", *sides, *terms, *kinds)
    accepting = ("merchant", "agreement", "accept", agreement["agreement_id"], "--node", "fuel")
    shell.until(lambda: shell.json("merchant", "agreement", "list", "--node", "fuel"))
    shell.run(*accepting)
    for brand in ("grocery", "fuel"):
        listing = ("merchant", "agreement", "list", "--node", brand)
        shell.until(partial(active, shell, listing))
    wash = ("car-wash", "--title", "A car wash", "--price", "30", "--retail", "0.55 EUR")
    shell.run("merchant", "reward", "put", *wash, "--stock", "3", "--node", "fuel")

    # The member sees both money values and the loss, and takes it.
    quote = shell.json("member", "quote", "car-wash", "--at", "fuel")
    assert quote["points"] == 60
    assert quote["amount"] == {"currency": "EUR", "minor": 60}
    assert quote["retail"] == {"currency": "EUR", "minor": 55}
    assert quote["loss"] == {"currency": "EUR", "minor": 5}
    shown = shell.installed("member", "quote", "car-wash", "--at", "fuel").stdout
    assert "you lose" in shown
    assert "0.05 EUR (8.33 %)" in shown
    receipt = shell.json("member", "redeem", quote["redemption_id"], "--yes")
    assert receipt["state"] == "delivered"
    (code,) = receipt["vouchers"]

    # The receipt needs no server; the till takes the voucher once.
    shell.installed("verify", "receipt", quote["redemption_id"])
    wallet = Wallet.open(shell.folder / "wallet")
    assert wallet.verify_receipt(quote["redemption_id"]).passed
    shown = shell.run("member", "vouchers", quote["redemption_id"]).stdout
    assert shown.split() == shell.json("member", "vouchers", quote["redemption_id"]) == [code]
    voucher = ("merchant", "voucher", "use", code, "--node", "fuel")
    shell.run(*voucher, "--id", "use-1")
    shell.run(*voucher, "--id", "use-1")
    shell.run(*voucher, "--id", "use-2", expect=1)

    # An exchange, and a redemption which is taken back in part.
    exchanged = shell.json("member", "exchange", "10", "--at", "fuel", "--yes")
    assert (exchanged["state"], exchanged["points"]) == ("delivered", 20)
    shell.run("member", "vouchers", exchanged["redemption_id"], expect=3)
    second = shell.json("member", "redeem", "car-wash", "--at", "fuel", "--yes")["redemption_id"]
    shell.run("merchant", "reverse", second, "--points", "20", "--node", "fuel")
    shell.until(lambda: shell.json("member", "redemption", second)["state"] == "partly_reversed")
    shell.until(lambda: balance(shell, "grocery") == 150 - 60 - 20 - 60 + 20)
    assert balance(shell, "fuel") == 10

    # What the member cannot pay is refused, and costs nothing.
    shell.run(
        "member", "redeem", "car-wash", "--at", "fuel", "--max-points", "5", "--yes", expect=1
    )
    refused = shell.json("member", "redeem", "car-wash", "--at", "fuel", "--yes", expect=1)
    assert refused["failure"]["code"] == "INSUFFICIENT_POINTS"
    assert len(shell.json("member", "redemptions")) == 4

    # The window closes, settles, reconciles; a stranger verifies it.
    shell.run("clearing", "window", "close")
    settled = shell.decided("clearing", "window", "settle", "1", "--out", "window-1.json")
    net = {row["participant"]: row["net"]["minor"] for row in settled["positions"]}
    assert net["fuel"] == 60 + 20 + 60 - 20
    assert sum(net.values()) == 0
    shell.run("verify", "settlement", "window-1.json")
    shell.run("clearing", "reconcile", "1")
    shell.until(
        lambda: "Both agree." in shell.run("merchant", "window", "1", "--node", "fuel").stdout
    )
    shell.until(lambda: shell.json("clearing", "window", "list")[1]["acknowledged"])

    # Every log, and all of them together; a copy as well.
    shell.run("verify", "network", "clearing", "grocery", "fuel", "--final")
    shell.run("verify", "log", town.grocery, *ca)
    shell.run("node", "backup", "copy.db", "--node", "grocery")
    shell.run("verify", "log", "copy.db")


def active(shell: Shell, listing: Sequence[str]) -> bool:
    (found,) = shell.json(*listing)
    return bool(found["state"] == "ACTIVE")


def balance(shell: Shell, brand: str) -> int:
    (found,) = (one for one in shell.json("member", "balance") if one["brand"] == brand)
    return int(found["balances"][0]["available"]) if found["balances"] else 0


def test_the_doctor_says_in_words_what_is_wrong(town: Town) -> None:
    shell, ca = town.shell, ("--ca", "clearing/ca.crt")
    shell.run("doctor", "--node", "grocery")
    shell.run("doctor", "--clearing", "clearing")
    peer = json.loads((shell.folder / "grocery/request.json").read_text())["peerAddress"]
    for words, said in (
        ((town.grocery, "--ca", "strange.crt"), "The CA you trust did not issue"),
        ((town.grocery, *ca, "--server-name", "shop.example"), "is not for shop.example"),
        ((peer, *ca), "asks for a client certificate and we showed none"),
        (("127.0.0.1:1", *ca), "Nothing listens on port 1"),
        (("no-such-host.invalid:1", *ca), "leads to no address"),
    ):
        if "strange.crt" in words:
            strange = shell.folder / "strange"
            shell.run("clearing", "init", "strange.example", "--clearing", str(strange))
            (shell.folder / "strange.crt").write_bytes((strange / "ca.crt").read_bytes())
        assert said in shell.run("doctor", *words, expect=5).stdout


def test_a_till_needs_only_its_key_and_three_facts(town: Town) -> None:
    shell = town.shell
    shell.run("merchant", "staff", "add", "checkout-1", "--out", "till.key", "--node", "fuel")
    till = ("--key", "till.key", "--address", town.fuel, "--ca", "clearing/ca.crt")
    at = (*till, "--origin", "town.example/fuel")
    shell.run("merchant", "voucher", "check", "0000-0000-0000-0000-0", *at, expect=3)
    account = "acc_" + 32 * "0"
    refused = shell.run(
        "merchant", "adjust", account, "5", "--key", "till.key", "--node", "fuel", expect=4
    )
    assert "manager" in refused.stderr


def test_a_sealed_wallet_opens_with_its_passphrase_only(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = town.shell
    wallet = ("--wallet", str(tmp_path / "sealed"))
    monkeypatch.setenv("COMITY_WALLET_PASSPHRASE", "correct horse")
    shell.run("member", "enrol", town.grocery, "--ca", "clearing/ca.crt", *wallet)
    shell.run("member", "balance", *wallet)
    monkeypatch.setenv("COMITY_WALLET_PASSPHRASE", "wrong")
    shell.run("member", "lots", "grocery", *wallet, expect=2)


def test_an_account_is_used_from_a_second_device_until_it_is_revoked(
    town: Town, tmp_path: Path
) -> None:
    shell = town.shell
    first, second = ("--wallet", str(tmp_path / "1")), ("--wallet", str(tmp_path / "2"))
    ca = ("--ca", "clearing/ca.crt")
    account = shell.json("member", "enrol", town.grocery, *ca, *first)["account"]
    key = str(tmp_path / "phone.key")
    key_id = shell.json("member", "device", "add", "grocery", "--out", key, *first)["key_id"]
    adopted = shell.json("member", "device", "adopt", town.grocery, "--key", key, *ca, *second)
    assert adopted["account"] == account
    shell.run("member", "lots", "grocery", *second)
    shell.run("member", "device", "revoke", "grocery", key_id, *first)
    shell.run("member", "lots", "grocery", *second, expect=4)


@pytest.mark.row("A7")
def test_sales_from_a_file_count_once_and_what_is_rejected_is_listed(town: Town) -> None:
    shell = town.shell
    wallet = ("--wallet", str(shell.folder / "shopper"))
    ca = ("--ca", "clearing/ca.crt")
    account = shell.json("member", "enrol", town.grocery, *ca, *wallet)["account"]
    rows = ("purchase_id,account,amount", f"s1,{account},20.00 EUR", f"s2,{account},0.00 EUR")
    (shell.folder / "sales.csv").write_text("\n".join(rows) + "\n")
    importing = ("merchant", "import", "sales.csv", "--node", "grocery")
    for _ in range(2):
        found = shell.json(*importing, expect=1)
        assert (found["recorded"], found["points"]) == (1, 20)
        assert [one["purchase_id"] for one in found["rejected"]] == ["s2"]
    (held,) = shell.json("member", "balance", *wallet)
    assert held["balances"][0]["available"] == 20


def test_managers_operate_a_programme(town: Town) -> None:
    shell, at = town.shell, ("--node", "grocery")
    (account,) = [
        one["account"] for one in shell.json("member", "brands") if one["brand"] == "grocery"
    ]
    before = balance(shell, "grocery")

    # Points by hand, a claim, and a freeze which stops the spending only.
    done = shell.json("merchant", "adjust", account, "5", "--reason", "goodwill", *at)
    assert done["state"] == "done"
    (listed, *_) = shell.json("merchant", "adjustment", "list", *at)
    assert (listed["points"], listed["reason_code"]) == (5, "goodwill")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    claim = ("member", "claim", "grocery", "missed-1", "7.00 EUR", "--at", today)
    claimed = shell.json(*claim)["claim_id"]
    assert claimed in shell.run("merchant", "claim", "list", *at).stdout
    shell.run("merchant", "claim", "confirm", claimed, "6.00 EUR", *at)
    assert shell.json("member", "claims", "grocery")[0]["state"] == "confirmed"
    shell.run("merchant", "freeze", "--reason", "drill", *at)
    frozen = shell.json("member", "redeem", "car-wash", "--at", "fuel", "--yes", expect=1)
    assert frozen["failure"]["code"] == "SPENDING_FROZEN"
    assert "can spend" in shell.run("merchant", "freeze", "--lift", "--reason", "over", *at).stdout
    assert balance(shell, "grocery") == before + 5 + 6

    # Members of an older programme; the same file again changes nothing.
    cards = shell.folder / "cards.csv"
    cards.write_text("reference,name,points\ncard-1,Ada,70\ncard-2,Bob,many\n,Eve,1\n", "utf-8")
    take = ("merchant", "import-members", "cards.csv", "--codes", "codes.csv", *at)
    for _ in range(2):
        found = shell.json(*take, "--rejects", "bad.csv", expect=1)
        assert found["imported"] == 1
        assert [one["line"] for one in found["rejected"]] == [3, 4]
        assert "whole number" in (shell.folder / "bad.csv").read_text("utf-8")
    (_, card) = (shell.folder / "codes.csv").read_text("utf-8").splitlines()
    new = ("--wallet", str(shell.folder / "ada"), "--ca", "clearing/ca.crt")
    joined = shell.json("member", "enrol", town.grocery, "--invitation", card.split(",")[2], *new)
    assert joined["account"] == card.split(",")[1]
    held = shell.json("member", "balance", "--wallet", str(shell.folder / "ada"))
    assert held[0]["balances"][0]["available"] == 70

    # Everything about a member, to the member and to a manager alike.
    shell.run("member", "export", "grocery", "--out", "mine.json")
    shell.run("merchant", "export", account, "--out", "theirs.json", *at)
    mine = json.loads((shell.folder / "mine.json").read_text("utf-8"))
    assert mine == json.loads((shell.folder / "theirs.json").read_text("utf-8"))
    assert {"profiles", "devices", "lots", "holds", "statements"} <= mine.keys()

    # Codes for members to be, and an endpoint which nobody answers at.
    (code,) = shell.json("merchant", "invitation", "create", *at)
    shell.run("merchant", "invitation", "revoke", code, *at)
    assert "revoked" in shell.run("merchant", "invitation", "list", *at).stdout
    assert shell.json("merchant", "applicant", "list", *at) == []
    hook = ("merchant", "webhook")
    keys = shell.json(*hook, "add", "crm", "http://127.0.0.1:9/", "--from", "0", *at)
    assert keys["secret"].startswith("whsec_")
    shell.until(lambda: shell.json(*hook, "list", *at)[0]["failures"])
    assert "active" in shell.run(*hook, "list", *at).stdout
    shell.run(*hook, "set", "crm", "--pause", *at)
    assert shell.json(*hook, "rotate", "crm", *at)["secret"] != keys["secret"]
    shell.run(*hook, "remove", "crm", *at)
    shell.run(*hook, "add", "crm", "http://crm.example/", *at, expect=2)


def test_a_second_process_on_one_ledger_is_refused_in_words(town: Town) -> None:
    refused = town.shell.run("clearing", "recover", expect=7)
    assert "Stop the other process first." in refused.stderr
