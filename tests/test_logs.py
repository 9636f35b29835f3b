"""Logs of a build: what is found among them, cleaned of secrets, and put into real object stores (Swift's own servers, moto's S3)."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from subunit.v2 import StreamResultToBytes

from headgate.settings import LogSettings
from headgate.tested import FailedTest, SuiteResult, junit, subunit_v2
from tasks.log_files import clean, log_files, make_readable, manifest, suite_result
from tasks.log_storage import StorageProblem
from tasks.publishing import publish, with_log_url, with_tests
from tests.services.swift import PROGRAMS, swift_servers

JUNIT = b"""<testsuites><testsuite name="all">
<testcase classname="tests.It" name="works" time="0.5"/>
<testcase classname="tests.It" name="breaks" time="0.25"><failure message="1 != 2">at line 3</failure></testcase>
<testcase classname="tests.It" name="waits"><skipped/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    (directory / "controller/deep").mkdir(parents=True)
    (directory / "job-output.txt").write_text("all went well\n")
    (directory / "controller/deep/report.xml").write_bytes(JUNIT)
    (directory / "controller/syslog.txt.gz").write_bytes(gzip.compress(b"booted\n"))
    (directory / "core").write_bytes(b"\0\1")
    (directory / "link").symlink_to("/etc/passwd")
    os.mkfifo(directory / "pipe")
    return directory


def test_junit_says_what_failed_and_why() -> None:
    assert junit(JUNIT) == SuiteResult(3, 1, 1, 0.75, (FailedTest("tests.It.breaks", "1 != 2\nat line 3"),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<a",
        b"<html/>",
        b"\xff\xfe",
        b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;&b;">]><testsuite><testcase name="&d;"/></testsuite>',
    ],
)
def test_what_is_no_junit_says_nothing(data: bytes) -> None:
    assert junit(data) is None


def test_subunit_says_what_failed_and_why() -> None:
    stream = io.BytesIO()
    result = StreamResultToBytes(stream)
    began, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)
    for name, status in (("a.works", "success"), ("a.breaks", "fail"), ("a.waits", "skip")):
        result.status(test_id=name, test_status="inprogress", timestamp=began)
        if status == "fail":
            result.status(test_id=name, file_name="traceback", file_bytes=b"1 != 2", mime_type="text/plain;charset=utf8")
        result.status(test_id=name, test_status=status, timestamp=end)
    assert subunit_v2(stream.getvalue()) == SuiteResult(3, 1, 1, 6.0, (FailedTest("a.breaks", "1 != 2"),))
    assert subunit_v2(b"nothing of the kind") is None


def test_only_regular_files_are_logs_and_browsers_are_told_what_they_are(logs: Path) -> None:
    assert [(each.path, each.content_type, each.encoding) for each in log_files(logs)] == [
        ("controller/deep/report.xml", "application/xml", ""),
        ("controller/syslog.txt.gz", "text/plain", "gzip"),
        ("core", "application/octet-stream", ""),
        ("job-output.txt", "text/plain", ""),
    ]
    tree = json.loads(manifest(log_files(logs)))["tree"]
    assert [entry["name"] for entry in tree] == ["controller", "core", "job-output.txt"]
    assert tree[0]["children"][0]["children"][0]["name"] == "report.xml"


def test_a_secret_is_blotted_out_of_every_file_and_a_link_is_not_followed(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("hunter2hunter2")
    (logs / "outward").symlink_to(tmp_path / "outside")
    (logs / "env.txt").write_text("PASSWORD=hunter2hunter2\nother\n")
    (logs / "large").write_bytes(b"x" * ((1 << 20) - 5) + b"hunter2hunter2\n")
    assert clean(logs, ["hunter2hunter2", ""]) == ["env.txt", "large"]
    assert (logs / "env.txt").read_text() == "PASSWORD=(redacted)\nother\n"
    assert b"hunter2" not in (logs / "large").read_bytes()
    assert (tmp_path / "outside").read_text() == "hunter2hunter2"


def test_what_a_job_left_unreadable_is_read_all_the_same(tmp_path: Path) -> None:
    """Where a job runs as the user that publishes its logs. Root reads everything, so somebody else looks here."""
    (tmp_path / "logs/shut").mkdir(parents=True)
    (tmp_path / "logs/shut/token").write_text("hunter2hunter2")
    (tmp_path / "logs/link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_text("")
    (tmp_path / "outside").chmod(0)
    for name, mode in (("logs/shut/token", 0), ("logs/shut", 0), ("logs", 0)):
        (tmp_path / name).chmod(mode)
    make_readable(tmp_path / "logs")
    assert [(tmp_path / name).stat().st_mode & 0o700 for name in ("logs", "logs/shut", "logs/shut/token")] == [0o700, 0o700, 0o600]
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0
    assert clean(tmp_path / "logs", ["hunter2hunter2"]) == ["shut/token"]


async def test_tests_and_the_address_are_kept_with_what_the_build_returned(logs: Path) -> None:
    assert suite_result(logs) == junit(JUNIT)
    data = await with_tests({"colour": "teal", "zuul": {"pause": True}}, logs)
    assert (data["colour"], data["zuul"]["pause"], data["zuul"]["tests"]["failed"]) == ("teal", True, 1)
    assert with_log_url(data, "https://logs/1/")["zuul"]["log_url"] == "https://logs/1/"
    assert with_log_url({"zuul": {"log_url": "https://own/"}}, "https://logs/1/")["zuul"]["log_url"] == "https://own/"
    assert await publish(LogSettings(), logs, "abcdef", "tox") == ""


@pytest.fixture
def s3() -> Iterator[str]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.mark.slow
async def test_logs_in_s3_open_and_expire(logs: Path, s3: str) -> None:
    boto3 = pytest.importorskip("boto3")
    long = "/".join(["d" * 200] * 6)
    (logs / long).mkdir(parents=True)
    (logs / long / "too long").write_text("")
    Path(os.fsdecode(os.fsencode(logs) + b"/\xff\xe9")).write_text("odd\n")
    settings = LogSettings(
        driver="s3", endpoint=s3, access_key="key", secret_key="secret", prefix="ci/", keep_days=7, container="test-logs"
    )
    for _ in range(2):
        url = await publish(settings, logs, "abcdef", "tox on 1,2")
        assert url == f"{s3}/test-logs/ci/abc/abcdef/"
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{url}job-output.txt")).text == "all went well\n"
        packed = await client.get(f"{url}controller/syslog.txt.gz")
        assert (packed.text, packed.headers["content-encoding"]) == ("booted\n", "gzip")
        page = await client.get(f"{url}index.html")
        assert (page.headers["content-type"], "controller/deep/report.xml" in page.text) == ("text/html", True)
        assert "1 more have names too long for this store" in page.text
        assert (await client.get(f"{url}%5Cxff%5Cxe9")).text == "odd\n"
        assert (await client.get(f"{url}link")).status_code == 404
    bucket = boto3.client("s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    (rule,) = bucket.get_bucket_lifecycle_configuration(Bucket="test-logs")["Rules"]
    assert (rule["Filter"], rule["Expiration"]) == ({"Prefix": "ci/"}, {"Days": 7})


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAMS, reason="HEADGATE_SWIFT does not name the directory of Swift's programs")
async def test_logs_in_swift_open_and_expire(logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with swift_servers(tmp_path / "swift") as account:
        (tmp_path / "clouds.yaml").write_text(
            f"clouds: {{logs: {{auth_type: none, object_store_endpoint_override: '{account}', auth: {{endpoint: '{account}'}}}}}}"
        )
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        (logs / "large.bin").write_bytes(b"0123456789" * 10)
        settings = LogSettings(driver="swift", cloud="logs", keep_days=7, segment_bytes=40)
        for _ in range(2):
            url = await publish(settings, logs, "abcdef", "tox on 1,2")
            assert url == f"{account}/headgate-logs/abc/abcdef/"
        async with httpx.AsyncClient() as client:
            text = await client.get(f"{url}job-output.txt")
            assert (text.text, "x-delete-at" in text.headers) == ("all went well\n", True)
            assert (await client.get(f"{url}controller/syslog.txt.gz")).text == "booted\n"
            assert (await client.get(f"{url}large.bin")).text == "0123456789" * 10
            assert "controller/deep/report.xml" in (await client.get(f"{url}index.html")).text
            assert (await client.get(f"{url}link")).status_code == 404


async def test_a_store_that_is_not_there_is_one_sentence(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = LogSettings(driver="s3", endpoint="http://127.0.0.1:9", access_key="key", secret_key="secret")
    with pytest.raises(StorageProblem, match=r"^S3 bucket headgate-logs: Could not connect to the endpoint URL"):
        await publish(settings, logs, "abcdef", "tox")
