"""The directory of users: lookups, rotation, sources that go away."""

import asyncio

import pytest

from pyproxy.auth import credentials as credentials_module
from pyproxy.auth.credentials import Credentials
from pyproxy.auth.secret import Secret, SecretError
from tests.support.auth_entries import ARN, FakeStore, entry


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def directory(store: FakeStore, *names: str) -> Credentials:
    return Credentials([entry(name) for name in names or store.secrets], store, clock=Clock())


async def messages(credentials: Credentials) -> list[str]:
    return [
        f"{change.level} {change.message}".replace(ARN, "")
        for change in await credentials.refresh()
    ]


async def test_users_are_found_by_the_name_in_their_secret() -> None:
    """AU-05, AU-39: with its case."""
    credentials = directory(FakeStore({"one": ("app", "x"), "two": ("Reader", "y")}))
    await credentials.refresh()
    found = credentials.lookup("Reader")
    assert found is not None
    assert (found.secret.password, found.arn) == ("y", ARN + "two")
    assert credentials.lookup("reader") is None
    assert credentials.users() == ("app", "Reader")
    why = credentials.why_missing("reader")
    assert why == 'No secret in proxy.auth has the user name "reader".'


async def test_a_user_in_two_secrets_is_nobody() -> None:
    """AU-15, L-15."""
    credentials = directory(FakeStore({"one": ("app", "x"), "two": ("app", "x")}))
    await credentials.refresh()
    assert credentials.lookup("app") is None
    assert credentials.knows("app")
    assert credentials.why_missing("app") == (
        'Credentials couldn\'t be retrieved. The database user "app" was found in'
        " multiple DB proxy authentication entries"
    )


async def test_the_first_refresh_reports_every_secret() -> None:
    store = FakeStore({"one": ("app", "x"), "two": "access denied"})
    credentials = directory(store)
    assert await messages(credentials) == [
        'INFO Secret one was read for the database user "app".',
        "WARN Credentials couldn't be retrieved. access denied.",
    ]
    assert credentials.why_missing("reader").endswith("Not read: access denied.")
    assert await messages(credentials) == []


async def test_that_nobody_has_a_secret_is_told_with_its_reason() -> None:
    """TH-04."""
    store = FakeStore({"one": "access denied", "two": "no such secret"})
    credentials = directory(store)
    await credentials.refresh()
    assert credentials.why_nobody() == (
        "Proxy does not have any registered credentials."
        " Not read: access denied. Not read: no such secret."
    )
    store.secrets["two"] = ("app", "x")
    await credentials.refresh()
    assert credentials.why_nobody() == ""
    store.secrets["two"] = "access denied"
    await credentials.refresh()
    assert credentials.why_nobody() == "", "the last known value stays in use"


async def test_a_new_password_is_taken_and_reported_without_being_shown() -> None:
    """AU-13, invariant 9."""
    store = FakeStore({"one": ("app", "old-password")})
    credentials = directory(store)
    await credentials.refresh()
    before = credentials.lookup("app")
    store.secrets["one"] = ("app", "new-password")
    assert await messages(credentials) == [
        'INFO Secret one has a new password for the database user "app".'
    ]
    after = credentials.lookup("app")
    assert before is not None
    assert after is not None
    assert (before.secret.password, after.secret.password) == ("old-password", "new-password")


async def test_an_unchanged_secret_keeps_its_verifier() -> None:
    """PBKDF2 once per version of a secret, not per refresh."""
    credentials = directory(FakeStore({"one": ("app", "x")}))
    await credentials.refresh()
    before = credentials.lookup("app")
    await credentials.refresh()
    after = credentials.lookup("app")
    assert before is not None
    assert after is not None
    assert after.secret is before.secret


async def test_rotation_by_alternating_users_flips_the_user() -> None:
    """AU-12: it breaks clients with the other name, as in AWS, and says so."""
    store = FakeStore({"one": ("app", "x")})
    credentials = directory(store)
    await credentials.refresh()
    store.secrets["one"] = ("app_clone", "y")
    assert await messages(credentials) == [
        'INFO Secret one changed its user from "app" to "app_clone"; "app" can no longer log in.'
    ]
    assert credentials.lookup("app") is None
    assert credentials.lookup("app_clone") is not None


async def test_a_source_that_is_away_takes_nobody_away() -> None:
    """AU-11: the last good value stays; what is wrong is said once, and that it is over."""
    store = FakeStore({"one": ("app", "x")})
    credentials = directory(store)
    await credentials.refresh()
    store.secrets["one"] = "the source is away"
    (message,) = await messages(credentials)
    assert message.startswith("WARN Credentials couldn't be retrieved. the source is away.")
    assert message.endswith(" The last known value stays in use.")
    assert await messages(credentials) == []
    assert credentials.lookup("app") is not None
    store.secrets["one"] = ("app", "x")
    assert await messages(credentials) == ["INFO Secret one can be read again."]


async def test_a_source_that_hangs_is_given_up_and_asked_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials_module, "FETCH_TIMEOUT", 0.02)
    store = FakeStore({"one": ("app", "x")})
    credentials = directory(store)
    store.answering.clear()
    try:
        assert "no answer within 0.02 s" in (await messages(credentials))[0]
        assert await messages(credentials) == []
        assert store.fetched == ["one"]
    finally:
        store.answering.set()
    # Too late, and taken all the same: else the last of many would be asked for again for ever.
    await asyncio.gather(*credentials._flights.values())
    assert credentials.users() == ("app",)
    assert await messages(credentials) == ['INFO Secret one was read for the database user "app".']


async def test_an_answer_about_a_secret_that_a_reload_has_removed_is_forgotten() -> None:
    store = FakeStore({"one": ("app", "x"), "two": ("other", "y")})
    credentials = directory(store, "two")
    await credentials.refresh()
    store.answering.clear()
    store.secrets["two"] = "access denied"
    refreshing = asyncio.create_task(messages(credentials))
    await asyncio.sleep(0)
    credentials.configure([entry("one")])
    store.answering.set()
    assert await refreshing == []
    assert credentials.why_missing("other") == 'No secret in proxy.auth has the user name "other".'


async def test_a_rotation_that_a_failed_login_brought_to_light_is_told() -> None:
    """AU-13."""
    store = FakeStore({"one": ("app", "old")})
    credentials = directory(store)
    await credentials.refresh()
    store.secrets["one"] = ("app", "new")
    assert await credentials.reread("app") is not None
    assert await messages(credentials) == [
        'INFO Secret one has a new password for the database user "app".'
    ]


async def test_who_needs_the_same_secret_waits_for_the_same_read() -> None:
    store = FakeStore({"one": ("app", "old")})
    credentials = directory(store)
    await credentials.refresh()
    store.secrets["one"] = ("app", "new")
    found = await asyncio.gather(*(credentials.reread("app") for _ in range(20)))
    assert all(credential is not None for credential in found)
    assert store.fetched == ["one", "one"]


async def test_a_reread_gives_a_changed_credential_or_none() -> None:
    """AU-13: one more try after a failed login at the database, if there is something to try."""
    store = FakeStore({"one": ("app", "old")})
    credentials = directory(store)
    await credentials.refresh()
    assert await credentials.reread("app") is None
    store.secrets["one"] = ("app", "new")
    credentials._clock.now += 1.0  # type: ignore[attr-defined]
    changed = await credentials.reread("app")
    assert changed is not None
    assert changed.secret.password == "new"
    assert await credentials.reread("nobody") is None


async def test_a_secret_that_has_changed_since_the_attempt_needs_no_read() -> None:
    store = FakeStore({"one": ("app", "old")})
    credentials = directory(store)
    await credentials.refresh()
    tried = credentials.lookup("app")
    store.secrets["one"] = ("app", "new")
    await credentials.refresh()
    assert tried is not None
    fresh = await credentials.reread("app", tried.secret)
    assert fresh is not None
    assert fresh.secret.password == "new"
    assert store.fetched == ["one", "one"]


async def test_failing_logins_do_not_flood_the_source() -> None:
    store = FakeStore({"one": ("app", "x")})
    credentials = directory(store)
    await credentials.refresh()
    for _ in range(5):
        await credentials.reread("app")
    assert store.fetched == ["one", "one"]


async def test_a_reload_keeps_what_was_read() -> None:
    store = FakeStore({"one": ("app", "x"), "two": ("reader", "y")})
    credentials = directory(store, "one", "two")
    await credentials.refresh()
    credentials.configure([entry("two", iam_auth="REQUIRED"), entry("three")])
    assert credentials.lookup("app") is None
    found = credentials.lookup("reader")
    assert found is not None
    assert found.iam_auth == "REQUIRED"


async def test_a_cancelled_reader_takes_no_one_along() -> None:
    store = FakeStore({"one": ("app", "x")})
    credentials = directory(store)
    store.answering.clear()
    first = asyncio.ensure_future(credentials.refresh())
    second = asyncio.ensure_future(credentials.refresh())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    store.answering.set()
    assert len(await second) == 1
    credentials.close()


async def test_a_secret_that_may_not_be_read_is_told_in_awss_words_too() -> None:
    """L-14."""

    class Forbidding(FakeStore):
        def fetch(self, name: str) -> Secret:
            raise SecretError("secret 'x': AccessDeniedException", 'The IAM role "r" is not')

    (change,) = await directory(Forbidding({}), "one").refresh()
    assert change.as_on_aws == 'The IAM role "r" is not'
    assert change.message.startswith("Credentials couldn't be retrieved. secret 'x'")
