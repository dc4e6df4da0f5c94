"""IAM tokens in programs: psql, node-postgres, and AWS's SDK for JavaScript, which signs by itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproxy.lab import binaries
from tests.support.bench_of_aws import Bench, aws_bench
from tests.support.postgres import Postgres

pytestmark = pytest.mark.integration

NODE = """
const fs = require('fs');
const { Client } = require('pg');
const { Signer } = require('@aws-sdk/rds-signer');
const [host, port, ca, token] = process.argv.slice(2);
async function come(password) {
  const client = new Client({
    host, port: Number(port), user: 'iam_user', database: 'app', password,
    ssl: { ca: fs.readFileSync(ca) },
  });
  await client.connect();
  const answer = await client.query('SELECT current_user AS me');
  await client.end();
  return answer.rows[0].me;
}
(async () => {
  const signer = new Signer({
    hostname: host, port: Number(port), username: 'iam_user', region: 'us-east-1',
    credentials: {
      accessKeyId: process.env.KEY, secretAccessKey: process.env.SECRET,
      sessionToken: process.env.SESSION,
    },
  });
  const out = [await come(token), await come(await signer.getAuthToken())];
  try { await come('a password'); } catch (e) { out.push(e.code); }
  console.log(JSON.stringify(out));
})().catch(e => { console.error(e); process.exit(1); });
"""


@pytest.fixture(scope="module")
def bench(postgres: Postgres, moto: str) -> Iterator[Bench]:
    with aws_bench(postgres, moto) as bench:
        yield bench


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With node-postgres and the signer; skips where Node or the registry isn't there."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("there is no Node.js")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text("{}")
    packages = ("pg@8", "@aws-sdk/rds-signer@3")
    done = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", *packages],
        cwd=folder, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm can't install {packages}: {done.stderr[-200:]}")
    (folder / "login.js").write_text(NODE)
    return folder


def test_psql(bench: Bench) -> None:
    done = subprocess.run(
        [binaries.find() / "psql", "-XAtw", bench.url("iam_user"), "-c", "SELECT current_user"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PGPASSWORD": bench.token(key=bench.keys["role"]), "LC_ALL": "C"},
    )
    assert (done.stdout, done.stderr) == ("iam_user\n", "")


def test_node_postgres_and_the_signer_of_javascript(bench: Bench, node_folder: Path) -> None:
    """AU-33: another SDK's token, with a session token, is as good as boto3's."""
    key = bench.keys["role"]
    port, authority = str(bench.proxy.port), str(bench.proxy.certificate_authority)
    done = subprocess.run(
        ["node", "login.js", "localhost", port, authority, bench.token()],
        cwd=node_folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "KEY": key.access_key_id,
            "SECRET": key.secret_access_key,
            "SESSION": key.session_token or "",
        },
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["iam_user", "iam_user", "28P01"]
