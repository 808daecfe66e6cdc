"""Connects to the managed databases and caches as an operator does: `psql` and `redis-cli`, with the URLs in the secrets.

usage: connect.py APP ENV CA PUBLIC_CA   prints {"aws": {...}, "gcp": {...}} as JSON. CA signs the databases' and Memorystore's
servers, PUBLIC_CA stands for the public authorities. No password is in an argument.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
from urllib.parse import unquote, urlsplit

import boto3

from managed import google


def aws_secret(app, environment, name):
    return boto3.client("secretsmanager").get_secret_value(SecretId=f"/{app}/{environment}/{name}")["SecretString"]


def gcp_secret(app, environment, name):
    versions = google("secretmanager", "v1").projects().secrets().versions()
    path = f"projects/{os.environ['CLOUDSDK_CORE_PROJECT']}/secrets/{app}-{environment}-{name}/versions/latest"
    return base64.b64decode(versions.access(name=path).execute()["payload"]["data"]).decode()


def psql(url, authority, statement, **more):
    """The answer's lines, or what `psql` says why not."""
    parts = urlsplit(url)
    variables = {
        "PGHOST": parts.hostname,
        "PGPORT": str(parts.port),
        "PGUSER": unquote(parts.username),
        "PGPASSWORD": unquote(parts.password),
        "PGDATABASE": parts.path.strip("/"),
        "PGSSLMODE": "verify-ca",
        "PGSSLROOTCERT": authority,
    }
    arguments = ["psql", "--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--command", statement]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, env=os.environ | variables | more)
    return done.stdout.splitlines() if done.returncode == 0 else done.stderr.strip()


def redis(url, authority, *words, token=None):
    """What `redis-cli` says; an empty authority is a connection without TLS."""
    parts = urlsplit(url)
    tls = ["--tls", "--cacert", authority] if authority else []
    arguments = ["redis-cli", "--no-auth-warning", "-h", parts.hostname, "-p", str(parts.port), *tls, *words]
    variables = {"REDISCLI_AUTH": unquote(parts.password) if token is None else token}
    if not variables["REDISCLI_AUTH"]:
        variables = {}
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, env=os.environ | variables)
    return (done.stdout + done.stderr).strip()


def seen(database_url, database_authority, wrong_authority, cache_url, cache_authority):
    """Facts about both."""
    ask = lambda statement, **more: psql(database_url, database_authority, statement, **more)
    migrated = "SELECT version FROM migration_runs ORDER BY id"
    return {
        "migrations": ask(migrated),
        "encrypted": ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"),
        "without_tls": ask(migrated, PGSSLMODE="disable"),
        "wrong_password": ask(migrated, PGPASSWORD="wrong"),
        "wrong_authority": psql(database_url, wrong_authority, migrated),
        "ping": redis(cache_url, cache_authority, "PING"),
        "ping_without_token": redis(cache_url, cache_authority, "PING", token=""),
        "ping_without_tls": redis(cache_url, "", "PING"),
        "database": f"{urlsplit(database_url).hostname}:{urlsplit(database_url).port}",
        "cache": f"{urlsplit(cache_url).hostname}:{urlsplit(cache_url).port}",
    }


def main(app, environment, authority, public_authority):
    secret = lambda read: lambda name: read(app, environment, name)
    aws, gcp = secret(aws_secret), secret(gcp_secret)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as delivered:
        # What the app gets on Google: a certificate, hence no secret to anyone.
        delivered.write(gcp("redis-ca"))
        delivered.flush()
        report = {
            "aws": seen(aws("database-url"), authority, public_authority, aws("redis-url"), public_authority),
            "gcp": seen(gcp("database-url"), authority, public_authority, gcp("redis-url"), delivered.name),
        }
    json.dump(report, sys.stdout, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
