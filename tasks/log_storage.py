"""Where logs are put that shall not stay on the worker: Swift or S3, as the settings say. Both are called in threads.

A repeated call puts the same objects at the same names, so a crash in the middle costs nothing. What is put there goes away by the store's
own expiry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol
from urllib.parse import quote

from headgate.problems import Problem
from headgate.settings import LogSettings
from tasks.log_files import INDEX, LogFile, opened

AT_ONCE = 8
DAY = 86400


class StorageProblem(Problem):
    """The store does not take the logs; one sentence. Trying again may help."""


class LogStorage(Protocol):
    """One container of an object store."""

    def prepare(self) -> None:
        """Have the container, readable and with its expiry. Repeatable. Raises `StorageProblem`."""
        ...

    def put(self, name: str, data: Any, size: int, content_type: str, encoding: str) -> None:
        """One object. Raises `StorageProblem`."""
        ...

    @property
    def url(self) -> str:
        """Where people find it, without a slash at the end."""
        ...


def storage(settings: LogSettings) -> LogStorage | None:
    """The configured one, None for this machine's own disk. Raises `StorageProblem` when its library is not installed."""
    if settings.driver == "swift":
        return Swift(settings)
    return S3(settings) if settings.driver == "s3" else None


def put_all(store: LogStorage, prefix: str, files: Iterable[LogFile], extra: dict[str, bytes]) -> str:
    """Put everything below `prefix`, with further small files; the address of the directory. Raises `StorageProblem`."""
    store.prepare()

    def put(each: LogFile) -> None:
        with opened(each.file) as source:
            store.put(f"{prefix}{each.path}", source, each.size, each.content_type, each.encoding)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(put, each) for each in files]:
            done.result()
    for name, data in extra.items():  # last: who finds these finds all
        store.put(f"{prefix}{name}", data, len(data), "text/html" if name == INDEX else "application/json", "")
    return f"{store.url}/{prefix}"


class Swift:
    """By openstacksdk, with a cloud of clouds.yaml."""

    def __init__(self, settings: LogSettings) -> None:
        import openstack
        from keystoneauth1.exceptions import ClientException

        self._settings = settings
        self._failures = (ClientException, openstack.exceptions.SDKException)
        with self._told():
            self._cloud = openstack.connect(cloud=settings.cloud, region_name=settings.region)

    @contextlib.contextmanager
    def _told(self) -> Any:
        try:
            yield
        except self._failures as failure:
            raise StorageProblem(f"Swift container {self._settings.container}: {failure}") from failure

    def prepare(self) -> None:
        with self._told():
            headers = {"X-Container-Read": ".r:*,.rlistings"} if self._settings.public else {}
            answer = self._cloud.object_store.put(f"/{self._settings.container}", headers=headers)
            openstack_raise(answer)

    def put(self, name: str, data: Any, size: int, content_type: str, encoding: str) -> None:
        headers = {"Content-Type": content_type, "X-Delete-After": str(self._settings.keep_days * DAY)}
        if encoding:
            headers["Content-Encoding"] = encoding
        with self._told():
            if size > self._settings.segment_bytes and not isinstance(data, bytes):
                self._segments(name, data, headers)
            else:
                openstack_raise(self._cloud.object_store.put(f"/{self._settings.container}/{quote(name)}", data=data, headers=headers))

    def _segments(self, name: str, data: Any, headers: dict[str, str]) -> None:
        """A file that is too large for one object, as a dynamic large object."""
        container = self._settings.container
        number = 0
        while part := data.read(self._settings.segment_bytes):
            target = f"/{container}/{quote(name)}.segments/{number:08}"
            expiry = {"X-Delete-After": headers["X-Delete-After"]}
            openstack_raise(self._cloud.object_store.put(target, data=part, headers=expiry))
            number += 1
        whole = {**headers, "X-Object-Manifest": f"{container}/{quote(name)}.segments/"}
        openstack_raise(self._cloud.object_store.put(f"/{container}/{quote(name)}", data=b"", headers=whole))

    @property
    def url(self) -> str:
        if self._settings.url:
            return self._settings.url.rstrip("/")
        return f"{str(self._cloud.object_store.get_endpoint()).rstrip('/')}/{self._settings.container}"


def openstack_raise(answer: Any) -> None:
    from openstack.exceptions import raise_from_response

    raise_from_response(answer)


class S3:
    """By boto3 (`pip install 'headgate[s3]'`). Without keys in the settings, those that boto3 finds (environment, instance)."""

    def __init__(self, settings: LogSettings) -> None:
        try:
            import boto3
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise StorageProblem("logs.driver is s3, and boto3 is not installed: pip install 'headgate[s3]'.") from None
        self._settings = settings
        self._failures = (BotoCoreError, ClientError, Boto3Error)
        self._refused: Callable[..., bool] = lambda failure, code: getattr(failure, "response", {}).get("Error", {}).get("Code") == code
        self._client = boto3.client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region or "us-east-1",
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
        )

    @contextlib.contextmanager
    def _told(self) -> Any:
        try:
            yield
        except self._failures as failure:
            raise StorageProblem(f"S3 bucket {self._settings.container}: {failure}") from failure

    def prepare(self) -> None:
        bucket = self._settings.container
        with self._told():
            try:
                self._client.head_bucket(Bucket=bucket)
            except self._failures as failure:
                if not self._refused(failure, "404"):
                    raise
                self._client.create_bucket(Bucket=bucket)
            self._expire()

    def _expire(self) -> None:
        """Our own rule among those of the bucket."""
        bucket, ours = self._settings.container, f"headgate {self._settings.prefix or 'logs'}"
        try:
            rules = self._client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        except self._failures as failure:
            if not self._refused(failure, "NoSuchLifecycleConfiguration"):
                raise
            rules = []
        rule = {
            "ID": ours,
            "Filter": {"Prefix": self._settings.prefix},
            "Status": "Enabled",
            "Expiration": {"Days": self._settings.keep_days},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
        if rule not in rules:
            others = [each for each in rules if each.get("ID") != ours]
            self._client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [*others, rule]})

    def put(self, name: str, data: Any, size: int, content_type: str, encoding: str) -> None:
        facts = {"ContentType": content_type, **({"ContentEncoding": encoding} if encoding else {})}
        if self._settings.public:
            facts["ACL"] = "public-read"
        with self._told():
            if isinstance(data, bytes):
                self._client.put_object(Bucket=self._settings.container, Key=name, Body=data, **facts)
            else:
                self._client.upload_fileobj(data, self._settings.container, name, ExtraArgs=facts)

    @property
    def url(self) -> str:
        if self._settings.url:
            return self._settings.url.rstrip("/")
        return f"{self._client.meta.endpoint_url.rstrip('/')}/{self._settings.container}"
