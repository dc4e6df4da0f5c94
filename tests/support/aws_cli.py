"""As much of the `aws` command as the documentation uses, by boto3, which the real one uses too.

python -m tests.support.aws_cli rds generate-db-auth-token --hostname h --port 1 --username u
"""

from __future__ import annotations

import argparse
import sys

import boto3


def main() -> None:
    """Do what the arguments say, and print what the command line would."""
    parser = argparse.ArgumentParser(prog="aws")
    services = parser.add_subparsers(dest="service", required=True)
    rds = services.add_parser("rds").add_subparsers(dest="operation", required=True)
    token = rds.add_parser("generate-db-auth-token")
    for name in ("hostname", "port", "username"):
        token.add_argument(f"--{name}", required=True)
    token.add_argument("--region")
    secrets = services.add_parser("secretsmanager").add_subparsers(dest="operation", required=True)
    put = secrets.add_parser("put-secret-value")
    put.add_argument("--secret-id", required=True)
    put.add_argument("--secret-string", required=True)
    given = parser.parse_args()
    if given.service == "rds":
        client = boto3.client("rds", region_name=given.region)
        sys.stdout.write(
            client.generate_db_auth_token(given.hostname, given.port, given.username) + "\n"
        )
    else:
        boto3.client("secretsmanager").put_secret_value(
            SecretId=given.secret_id, SecretString=given.secret_string
        )


if __name__ == "__main__":
    main()
