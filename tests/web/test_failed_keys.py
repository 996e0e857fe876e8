"""Keys that are wrong: never let in, counted, and no reason to lock anybody else out."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from loom.web import keys as keys_module
from loom.web.failures import FailedKeys, named_as, peer_of
from loom.web.guard import HttpRefusal
from tests.web.support import served


def other_secret(key: str) -> str:
    """Return the same key id with a secret that is wrong in its last digit alone."""
    return key[:-1] + ("0" if key[-1] != "0" else "1")


async def test_the_right_key_id_with_a_wrong_secret_opens_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        key = client.keys["one", "admin"]
        assert (await client.call("GET", "/api/runs", key=key)).status == 200
        _, key_id, secret = key.split("_")
        for wrong in (
            other_secret(key),
            f"loom_{key_id}_{'0' * 64}",
            f"loom_{key_id}_{secret[::-1]}",
            f"loom_{client.keys['one', 'reader'].split('_')[1]}_{secret}",
        ):
            assert wrong != key
            said = await client.call("GET", "/api/runs", key=wrong)
            assert (said.status, said.code) == (401, "unauthorized")


async def test_secrets_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    class Watched:
        @staticmethod
        def compare_digest(one: str, other: str) -> bool:
            compared.append((one, other))
            return hmac.compare_digest(one, other)

    async with served(tmp_path) as client:
        monkeypatch.setattr(keys_module, "hmac", Watched)
        await client.call("GET", "/api/runs", key=other_secret(client.keys["one", "admin"]))
        [(one, other)] = compared
        assert len(one) == len(other) == 64, "hashes are, never secrets"
        assert one != other


async def test_wrong_keys_are_limited_and_a_right_one_of_the_same_place_is_let_in(tmp_path: Path) -> None:
    async with served(tmp_path, failed_keys_per_minute=5) as client:
        admin, reader = client.keys["one", "admin"], client.keys["one", "reader"]
        found = [(await client.call("GET", "/api/runs", key=other_secret(admin))).status for _ in range(8)]
        assert found == [401] * 5 + [429] * 3
        limited = await client.call("GET", "/api/runs", key=admin)
        assert (limited.status, limited.code) == (429, "rate_limited"), "a key that is guessed at is not looked at"
        assert 1 <= int(limited.headers["retry-after"]) <= 60
        assert (await client.call("GET", "/api/runs", key=reader)).status == 200, "another key of the same peer is"
        unknown = await client.call("GET", "/api/runs", key="loom_" + "0" * 16 + "_" + "0" * 64)
        assert unknown.status == 429, "a peer that fails too often is told so, whichever key it tries"
        assert (await client.call("GET", "/api/runs", role=None)).status == 401, "without a key nothing is guessed"


async def test_a_right_key_is_not_locked_out_by_others_who_fail_elsewhere(tmp_path: Path) -> None:
    async with served(tmp_path, failed_keys_per_minute=5, trusted_proxies=("127.0.0.1",)) as client:
        admin = client.keys["one", "admin"]

        async def ask(key: str, peer: str) -> int:
            return (await client.call("GET", "/api/runs", key=key, headers={"X-Forwarded-For": peer})).status

        for last in range(10):
            for _ in range(6):
                await ask(other_secret(admin), f"203.0.113.{last}")
            assert await ask(other_secret(admin), f"203.0.113.{last}") == 429
        assert await ask(admin, "198.51.100.7") == 200
        assert await ask(admin, "203.0.113.3") == 429


async def test_where_no_proxy_is_trusted_nobody_says_himself_where_he_comes_from(tmp_path: Path) -> None:
    async with served(tmp_path, failed_keys_per_minute=5) as client:
        wrong = other_secret(client.keys["one", "admin"])
        found = [
            (await client.call("GET", "/api/runs", key=wrong, headers={"X-Forwarded-For": f"203.0.113.{n}"})).status
            for n in range(8)
        ]
        assert found == [401] * 5 + [429] * 3


# --- counting --------------------------------------------------------------------------------------


def failed(limits: FailedKeys, key: bytes, peer: str) -> int:
    try:
        limits.check(key, peer)
        limits.failed(key, peer)
    except HttpRefusal as refused:
        return refused.status
    return 401


def test_the_bucket_fills_with_time_and_retry_after_says_when() -> None:
    now = [1_000.0]
    limits = FailedKeys(6, lambda: now[0])
    key = named_as("main", "0123456789abcdef")
    assert [failed(limits, key, "a") for _ in range(8)] == [401] * 6 + [429] * 2
    with pytest.raises(HttpRefusal) as caught:
        limits.check(key, "a")
    wait_s = int(caught.value.headers["Retry-After"])
    assert wait_s == 10
    now[0] += wait_s
    limits.check(key, "a")
    assert failed(limits, key, "a") == 401
    assert failed(limits, key, "a") == 429


def test_keys_of_one_peer_are_counted_each_and_together() -> None:
    limits = FailedKeys(3, lambda: 0.0)
    keys = [named_as("main", f"{number:016x}") for number in range(5)]
    assert [failed(limits, key, "a") for key in keys] == [401, 401, 401, 429, 429]
    limits.check(keys[0], "a")  # a key that failed once is still looked at
    assert failed(limits, keys[0], "b") == 401, "elsewhere nothing has happened"


def test_what_is_remembered_is_bounded_and_of_one_size() -> None:
    limits = FailedKeys(3, lambda: 0.0, most=100)
    for number in range(10_000):
        failed(limits, named_as("x" * 5_000, f"{number}"), peer_of(f"10.0.{number // 250}.{number % 250}"))
    assert len(limits) == 200
    assert len(named_as("x" * 5_000, None)) == 32
    assert len(peer_of("x" * 5_000)) == 64


def test_a_network_of_ipv6_is_one_peer() -> None:
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert peer_of("2001:db8:0:1::1") != peer_of("2001:db8::1")
    assert peer_of("::ffff:192.0.2.1") == peer_of("192.0.2.1")
    assert peer_of(None) == ""
