"""Which method a client must use."""

import pytest

from pyproxy.auth.authenticator import Authenticator
from pyproxy.auth.credentials import Credentials
from pyproxy.auth.directory import StaticKeys
from pyproxy.auth.exchange import Exchange, Refusal
from pyproxy.auth.iam_login import TokenExchange
from pyproxy.auth.password import Md5Exchange, ScramExchange
from pyproxy.config import ProxyConfig
from tests.support.auth_entries import FakeStore, entry

SECRETS = {
    "scram": ("scram_user", "x"),
    "md5": ("md5_user", "x"),
    "iam": ("iam_user", "x"),
    "twice": ("twin", "x"),
    "again": ("twin", "y"),
    "unset": ("unset_user", "x"),
}
ENTRIES = [
    entry("scram"),
    entry("md5", kind="POSTGRES_MD5"),
    entry("iam", iam_auth="REQUIRED"),
    entry("twice"),
    entry("again"),
    entry("unset", kind=""),
]


async def begin(user: str, *, tls: bool = True, scheme: str = "NONE") -> Exchange:
    credentials = Credentials(ENTRIES, FakeStore(SECRETS))
    await credentials.refresh()
    config = ProxyConfig(default_auth_scheme=scheme)
    authenticator = Authenticator(config, credentials, StaticKeys([]))
    return authenticator.begin(user, names=frozenset({"localhost:6432"}), tls=tls)


@pytest.mark.parametrize(
    ("user", "scheme", "method"),
    [
        pytest.param("scram_user", "NONE", ScramExchange, id="SCRAM"),
        pytest.param("md5_user", "NONE", Md5Exchange, id="MD5"),
        pytest.param("unset_user", "NONE", ScramExchange, id="SCRAM is the default (AU-03)"),
        pytest.param("iam_user", "NONE", TokenExchange, id="IAM by the secret (AU-02)"),
        pytest.param("scram_user", "IAM_AUTH", ScramExchange, id="both coexist (AU-51)"),
        pytest.param("anybody", "IAM_AUTH", TokenExchange, id="IAM by default (AU-50)"),
    ],
)
async def test_the_method_follows_from_the_user(
    user: str, scheme: str, method: type[Exchange]
) -> None:
    assert isinstance(await begin(user, scheme=scheme), method)


@pytest.mark.parametrize("user", ["scram_user", "md5_user"])
async def test_a_password_needs_no_tls(user: str) -> None:
    assert await begin(user, tls=False)


@pytest.mark.parametrize(
    ("user", "tls", "scheme", "text", "reason"),
    [
        pytest.param(
            "nobody", True, "NONE", "E-PG-02", "No secret in proxy.auth has", id="unknown (AU-16)"
        ),
        pytest.param(
            "twin", True, "NONE", "E-PG-02", "multiple DB proxy authentication", id="AU-15"
        ),
        pytest.param(
            "twin", True, "IAM_AUTH", "E-PG-02", "multiple DB proxy", id="AU-15 with IAM by default"
        ),
        pytest.param("iam_user", False, "NONE", "E-PG-01", "needs TLS", id="AU-32"),
        pytest.param("anybody", False, "IAM_AUTH", "E-PG-05", "needs TLS", id="IAM by default"),
    ],
)
async def test_who_can_not_log_in_is_told_before_any_question(
    user: str, scheme: str, text: str, reason: str, *, tls: bool
) -> None:
    texts = {
        "E-PG-01": "IAM authentication is allowed only with SSL connections.",
        "E-PG-02": f"This RDS proxy has no credentials for the role {user}. Check the credentials"
        " for this role and try again.",
        "E-PG-05": "IAM is allowed only with SSL connections.",
    }
    with pytest.raises(Refusal) as caught:
        await begin(user, tls=tls, scheme=scheme)
    assert (caught.value.sqlstate, caught.value.message) == ("28000", texts[text])
    assert reason in caught.value.reason
