"""What IAM would allow."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.auth import policy

ARN = "arn:aws:rds-db:us-east-2:1234567890:dbuser:prx-ABCDEFGHIJKL01234/db_user"


def statement(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    given = {"Effect": effect, "Action": "rds-db:connect", "Resource": ARN}
    for name, value in elements.items():
        given.pop(name.removeprefix("Not"), None)
        given[name] = value
    return given


def evaluate(*statements: dict[str, Any], user_arn: str = ARN) -> policy.Verdict:
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return policy.evaluate([policy.parse(document)], policy.CONNECT, user_arn)


@pytest.mark.parametrize(
    "allowing",
    [
        pytest.param(statement(), id="exactly"),
        pytest.param(statement(Resource="arn:aws:rds-db:*:*:dbuser:*/*"), id="*/*"),
        pytest.param(statement(Resource=["arn:aws:s3:::x", ARN]), id="one of several"),
        pytest.param(statement(Resource=ARN[:-4] + "*"), id="db_*"),
        pytest.param(statement(Action="rds-db:*"), id="all actions of the service"),
        pytest.param(statement(Action="*", Resource="*"), id="an administrator"),
        pytest.param(statement(Action="RDS-DB:Connect"), id="an action's case doesn't matter"),
        pytest.param(statement(Action=["s3:Get*", "rds-db:con?ect"]), id="wildcards in actions"),
        pytest.param(statement(NotAction="s3:*"), id="NotAction"),
        pytest.param(statement(NotResource="arn:aws:s3:::*"), id="NotResource"),
        pytest.param(statement(Condition={}), id="a condition that says nothing"),
        pytest.param(statement(Sid="LetThemIn"), id="with a Sid"),
    ],
)
def test_a_statement_allows(allowing: dict[str, Any]) -> None:
    """AU-37."""
    assert evaluate(allowing).allowed


@pytest.mark.parametrize(
    ("other", "cause"),
    [
        pytest.param(statement(Resource=ARN.lower()), "no policy allows", id="a resource's case"),
        pytest.param(statement(Resource=ARN + "2"), "no policy allows", id="another user"),
        pytest.param(statement(Action="rds:connect"), "no policy allows", id="another service"),
        pytest.param(statement(NotAction="rds-db:*"), "no policy allows", id="NotAction"),
        pytest.param(statement(NotResource=ARN), "no policy allows", id="NotResource"),
        pytest.param(
            statement(Condition={"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}),
            "statement 1 has a Condition, and RDS Proxy supports no condition keys",
            id="a condition",
        ),
        pytest.param(
            statement(NotResource="arn:aws:s3:::${aws:username}"),
            "statement 1 has a policy variable in its NotResource",
            id="a variable in NotResource",
        ),
        pytest.param(statement("Deny"), "statement 1 denies rds-db:connect on arn:", id="a denial"),
    ],
)
def test_a_statement_does_not_allow(other: dict[str, Any], cause: str) -> None:
    """AU-37, AU-38; the cause is for the operator."""
    verdict = evaluate(other)
    assert not verdict.allowed
    assert cause in verdict.cause


def test_without_a_policy_nothing_is_allowed() -> None:
    verdict = policy.evaluate([], policy.CONNECT, ARN)
    assert verdict == (False, f"no policy allows rds-db:connect on {ARN}")


@pytest.mark.parametrize("order", [1, -1], ids=["denied last", "denied first"])
def test_an_explicit_deny_wins_in_any_order_and_policy(order: int) -> None:
    """IAM User Guide, "Policy evaluation logic"."""
    documents = [statement(Action="*", Resource="*"), statement("Deny", Sid="NotHim")]
    policies = [policy.parse({"Statement": document}) for document in documents[::order]]
    verdict = policy.evaluate(policies, policy.CONNECT, ARN)
    assert not verdict.allowed
    assert "statement 'NotHim' denies" in verdict.cause


@pytest.mark.parametrize(
    ("denying", "cause"),
    [
        pytest.param(
            {"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
            "has a Condition, and RDS Proxy supports no condition keys",
            id="a condition",
        ),
        pytest.param(
            {"Resource": "arn:aws:rds-db:*:*:dbuser:*/${aws:username}"},
            "has a policy variable in its Resource",
            id="a variable in Resource",
        ),
        pytest.param(
            {"NotResource": "arn:aws:rds-db:*:*:dbuser:*/${aws:username}"},
            "has a policy variable in its NotResource",
            id="a variable in NotResource",
        ),
    ],
)
def test_a_deny_that_is_not_understood_denies(denying: dict[str, Any], cause: str) -> None:
    """AU-38: what can't be evaluated lets nobody in, be it Allow or Deny."""
    verdict = evaluate(statement(), statement("Deny", **denying))
    assert not verdict.allowed
    assert "statement 2 denies" in verdict.cause
    assert f"it {cause}" in verdict.cause


def test_a_deny_of_something_else_is_none_whatever_its_condition() -> None:
    condition = {"Bool": {"aws:SecureTransport": "false"}}
    assert evaluate(
        statement(),
        statement("Deny", Action="s3:*", Condition=condition),
        statement("Deny", Resource="arn:aws:s3:::${aws:username}", Condition=condition),
    ).allowed


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        pytest.param([], "a policy must be a mapping", id="a list"),
        pytest.param({}, "Statement must be", id="empty"),
        pytest.param({"Statement": []}, "Statement must be", id="no statement"),
        pytest.param({"Version": "2026-01-01", "Statement": [statement()]}, "Version", id="future"),
        pytest.param({"Statement": [statement(), 1]}, "statement 2 must be", id="a number"),
        pytest.param({"Statement": statement("allow")}, "Effect must be", id="effect's case"),
        pytest.param(
            {"Statement": {"Effect": "Allow", "Action": "*"}}, "either Resource", id="no resource"
        ),
        pytest.param(
            {"Statement": statement() | {"NotAction": "*"}}, "either Action or NotAction", id="both"
        ),
        pytest.param({"Statement": statement(Action=[])}, "Action must be", id="no action"),
        pytest.param({"Statement": statement(Action=[1])}, "Action must be", id="action 1"),
        pytest.param({"Statement": statement(Action=7)}, "Action must be", id="action 7"),
        pytest.param({"Statement": statement(Principal="*")}, "no Principal", id="a principal"),
        pytest.param({"Statement": statement(Actoin="*")}, "unknown element Actoin", id="a typo"),
    ],
)
def test_a_document_that_iam_would_refuse_is_refused(document: object, complaint: str) -> None:
    with pytest.raises(policy.PolicyError, match=complaint):
        policy.parse(document)


def test_a_version_that_yaml_took_for_a_date_is_the_version() -> None:
    import yaml

    document = yaml.safe_load(
        "Version: 2012-10-17\nStatement: {Effect: Allow, Action: '*', Resource: '*'}"
    )
    assert policy.evaluate([policy.parse(document)], policy.CONNECT, ARN).allowed


effects = st.sampled_from(["Allow", "Deny"])
resources = st.sampled_from([ARN, "*", "arn:aws:rds-db:*", "arn:aws:s3:::x", ARN + "x", "${a}"])
actions = st.sampled_from(["rds-db:connect", "rds-db:*", "*", "s3:*", "rds-db:Con*"])
statements = st.builds(
    lambda effect, action, resource, conditional, action_key, resource_key: (
        {
            "Effect": effect,
            action_key: action,
            resource_key: resource,
        }
        | ({"Condition": {"Bool": {"x": "true"}}} if conditional else {})
    ),
    effects,
    actions,
    resources,
    st.booleans(),
    st.sampled_from(["Action", "NotAction"]),
    st.sampled_from(["Resource", "NotResource"]),
)


@given(st.lists(statements, min_size=1, max_size=6), statements, st.randoms())
def test_what_holds_for_all_policies(
    many: list[dict[str, Any]], one: dict[str, Any], randoms: Any
) -> None:
    """The order never matters, another Deny never allows, another Allow never denies."""
    shuffled = list(many)
    randoms.shuffle(shuffled)
    before = evaluate(*many).allowed
    assert evaluate(*shuffled).allowed == before
    assert evaluate(*json.loads(json.dumps(many))).allowed == before
    after = evaluate(*many, one).allowed
    if one["Effect"] == "Deny":
        assert not (after and not before)
    else:
        assert not (before and not after)
    assert not evaluate(*many, statement("Deny", Action="*", Resource="*")).allowed
