"""One kernel on Kaggle: push it, ask how it goes, wait for its end, read its log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from competition.console import duration, say, warn
from competition.errors import UsageError
from competition.publish.kaggle import backoff
from competition.publish.kaggle.client import UPGRADE, Connection, knows, version
from competition.publish.kaggle.errors import KaggleError, KernelError, Kind
from competition.publish.kaggle.redact import one_line, terminal_safe

DONE, FAILED, CANCELLED = ("COMPLETE",), ("ERROR",), ("CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
FIRST_POLL, LONGEST_POLL = 5.0, 60.0


@dataclass(frozen=True)
class KernelName:
    """Owner and slug of a kernel, as in the address kaggle.com/code/OWNER/SLUG, and a version; 0 is the latest."""

    owner: str
    slug: str
    version: int = 0

    def __str__(self) -> str:
        return f"{self.owner}/{self.slug}" + (f"/{self.version}" if self.version else "")

    def ask(self, request: Any) -> Any:
        """Fill in a request of the client. Without a version Kaggle answers for whatever was pushed last.

        So it does where the request of an older client (kagglesdk 0.1.20) cannot name one: see ``asked``.
        """
        request.user_name, request.kernel_slug = self.owner, self.slug
        if self.version and knows(request, "version_label"):
            request.version_label = f"v{self.version}"  # a bare number is not found
        return request

    @classmethod
    def parse(cls, text: str, owner: str) -> KernelName:
        """Read ``slug``, ``owner/slug`` or ``owner/slug/version``.

        Raises:
            UsageError: it is none of these.
        """
        found = re.fullmatch(r"(?:([\w-]+)/)?([\w-]+)|([\w-]+)/([\w-]+)/v?(\d+)", text, re.ASCII)
        if not found:
            raise UsageError(f"'{one_line(text, 80)}' is no kernel: expected SLUG, OWNER/SLUG or OWNER/SLUG/VERSION")
        plain_owner, plain_slug, of, slug, version = found.groups()
        name = cls(of or plain_owner or owner, slug or plain_slug, int(version or 0))
        if len(name.slug) < 5:
            raise UsageError(f"'{name.slug}' is no kernel: a slug has at least five characters")
        return name


@dataclass(frozen=True)
class Pushed:
    """A version of a kernel that Kaggle took: its name, number (0 when untold) and address."""

    name: KernelName
    version: int
    url: str


@dataclass(frozen=True)
class Status:
    """State of the latest session, as Kaggle names it, and what went wrong."""

    state: str
    message: str = ""

    @property
    def finished(self) -> bool:
        """Whether it will not change any more."""
        return self.state in (*DONE, *FAILED, *CANCELLED)

    def require_complete(self, name: KernelName) -> None:
        """Accept nothing but COMPLETE: what failed or was cut off leaves partial files that look whole.

        Raises:
            KernelError: any other state.
        """
        if self.state in DONE:
            return
        reason = f": {one_line(self.message)}" if self.message else ""
        if self.state in FAILED:
            raise KernelError(f"kernel {name} ended in ERROR{reason}; see 'dogbreed kernel logs {name}'")
        if self.state in CANCELLED:
            raise KernelError(
                f"kernel {name} was cancelled or ran out of time ({self.state}){reason}; nothing was fetched"
            )
        raise KernelError(
            f"kernel {name} has not finished ({self.state}); wait with 'dogbreed kernel status {name} --wait'"
        )


def push(connection: Connection, folder: Path) -> Pushed:
    """Push a kernel folder with the client's own ``kernels_push`` and read its answer to the end.

    The client prints problems of sources and tags and goes on as if nothing were wrong; here they stop the work.

    Args:
        connection: to Kaggle.
        folder: holds kernel-metadata.json and the code file.

    Raises:
        KernelError: Kaggle refused it, took it under another name, or dropped one of its sources.
    """
    metadata = json.loads((folder / "kernel-metadata.json").read_text(encoding="utf-8"))
    asked = KernelName.parse(str(metadata["id"]), connection.user)
    answer = connection.call_api(f"push kernel {asked}", lambda api: api.kernels_push(str(folder)), repeatable=False)
    if answer is None or answer.error:
        reason = one_line(answer.error if answer is not None else "no answer")
        hint = "; choose another title and id" if "already in use" in reason or "taken" in reason else ""
        raise KernelError(f"Kaggle refused the push of {asked}: {reason}{hint}")
    pushed = Pushed(_name_in(answer, asked), int(answer.version_number or 0), one_line(answer.url))
    _require_sources(answer, pushed)
    if pushed.name.slug.casefold() != asked.slug.casefold():
        raise KernelError(
            f"Kaggle filed the push as {pushed.name}, not {asked}: title and slug disagree, or the slug is another "
            f'kernel\'s; write "id": "{pushed.name}" or change the title (version {pushed.version} is running there)'
        )
    return pushed


def _name_in(answer: Any, asked: KernelName) -> KernelName:
    """The name that Kaggle gave it, from the address or the reference in its answer."""
    for text in (str(answer.url or ""), str(answer.ref or "")):
        parts = [one_line(part, 80) for part in text.split("?")[0].split("/") if part]
        if len(parts) >= 2 and parts[-2].casefold() == asked.owner.casefold():
            return KernelName(parts[-2], parts[-1])
    return asked


def _require_sources(answer: Any, pushed: Pushed) -> None:
    dropped = [
        f"{kind} '{one_line(source, 80)}'"
        for kind, sources in (
            ("data set", answer.invalid_dataset_sources),
            ("competition", answer.invalid_competition_sources),
            ("kernel", answer.invalid_kernel_sources),
            ("model", answer.invalid_model_sources),
        )
        for source in sources or ()
    ]
    if dropped:
        raise KernelError(
            f"Kaggle took {pushed.name} version {pushed.version} without {', '.join(dropped)}: it does not exist, is "
            "not yours, or is not written OWNER/NAME (a competition: the bare slug); mend it, push again"
        )
    if answer.invalid_tags:
        warn(f"Kaggle does not know the tags {', '.join(one_line(tag, 40) for tag in answer.invalid_tags)}")


@dataclass(frozen=True)
class Version:
    """The latest version of a kernel: its number (0 when untold) and its source."""

    number: int
    code: str


def latest(connection: Connection, name: KernelName) -> Version | None:
    """What Kaggle holds under this name; None when there is nothing, or nothing of ours.

    Raises:
        KaggleError: Kaggle refuses or cannot be reached.
    """
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest

    request = name.ask(ApiGetKernelRequest())
    try:
        found = connection.call(f"look at kernel {name}", lambda s: s.kernels.kernels_api_client.get_kernel(request))
    except KaggleError as error:
        if error.kind in (Kind.MISSING, Kind.FORBIDDEN):
            return None
        raise
    number = int(found.metadata.current_version_number or 0) if found.metadata is not None else 0
    return Version(number, (found.blob.source or "") if found.blob is not None else "")


def asked(connection: Connection, doing: str, name: KernelName, request: Any, ask: Callable[[Any, Any], Any]) -> Any:
    """Ask for something of the kernel's version, and be sure that the answer is that version's.

    Args:
        connection: to Kaggle.
        doing: for the error line.
        name: of the kernel.
        request: of the client, empty.
        ask: given the kernels' service and the request.

    Raises:
        KernelError: the client cannot name a version, and the one that is wanted is not the latest.
        KaggleError: Kaggle refuses or cannot be reached.
    """
    request = name.ask(request)
    answer = connection.call(doing, lambda services: ask(services.kernels.kernels_api_client, request))
    if name.version and not knows(request, "version_label"):
        # looked at afterwards: versions only go up, so one that is still the latest was it when it was asked
        there = latest(connection, replace(name, version=0))
        if there is None or there.number != name.version:
            told = f"the latest is {there.number or 'not told'}" if there is not None else "there is none"
            raise KernelError(
                f"cannot {doing}: kaggle {version()} reaches a kernel's latest version only, and {told}: {UPGRADE}"
            )
    return answer


def status(connection: Connection, name: KernelName) -> Status:
    """State of the session of the kernel's version.

    Raises:
        KaggleError: it does not exist, is not yours, or Kaggle cannot be reached.
    """
    from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

    doing, request = f"ask for the status of kernel {name}", ApiGetKernelSessionStatusRequest()
    answer = asked(connection, doing, name, request, lambda client, what: client.get_kernel_session_status(what))
    return Status(answer.status.name, terminal_safe(answer.failure_message or ""))


def wait(connection: Connection, name: KernelName, limit_seconds: float = 13 * 3600.0) -> Status:
    """Ask again and again, ever more seldom (5 to 60 s), until the session ends; every change of state is told.

    Args:
        connection: to Kaggle.
        name: of the kernel.
        limit_seconds: of waiting; Kaggle itself ends a session after 12 hours.

    Raises:
        KernelError: it has not ended within the limit; the kernel goes on, and the same command waits on.
    """
    start, seconds, last = time.monotonic(), FIRST_POLL, ""
    waited = 0.0
    while True:
        found = status(connection, name)
        waited = max(waited, time.monotonic() - start)
        if found.state != last:
            say(f"kernel {name}: {found.state} after {duration(waited)}")
            last = found.state
        if found.finished:
            return found
        if waited + seconds > limit_seconds:
            raise KernelError(
                f"kernel {name} is still {found.state} after {duration(waited)}: the same command waits on"
            )
        backoff.pause(seconds)
        waited += seconds
        seconds = min(seconds * 1.25, LONGEST_POLL)


def logs(connection: Connection, name: KernelName) -> str:
    """The log of the session as plain text: redacted, and harmless on a terminal.

    Raises:
        KaggleError: as ``status``.
    """
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    doing, request = f"read the log of kernel {name}", ApiListKernelSessionOutputRequest()
    answer = asked(connection, doing, name, request, lambda client, what: client.list_kernel_session_output(what))
    return terminal_safe(_plain_log(answer.log or ""))


def last_lines(connection: Connection, name: KernelName, most: int = 15) -> str:
    """The end of the log, for a session that failed; why it cannot be read, if it cannot."""
    try:
        lines = logs(connection, name).rstrip("\n").split("\n")[-most:]
    except KaggleError as error:
        return str(error)
    return "\n".join(["the end of its log:", *(f"    {line}" for line in lines)])


def follow(connection: Connection, name: KernelName, show: Callable[[str], None]) -> None:
    """Show the log while it is being written; a cut connection is taken up again without repeating lines.

    Raises:
        KaggleError: it cannot be read, or the connection breaks too often without anything new.
    """
    if not knows(connection.api, "kernels_logs_stream"):
        return _follow_by_asking(connection, name, show)
    shown = 0

    def read_on(api: Any) -> None:
        nonlocal shown
        for index, event in enumerate(api.kernels_logs_stream(str(name))):
            if index >= shown:
                shown = index + 1
                show(terminal_safe(str(event.get("data") or "").rstrip("\n")))

    return connection.call_api(f"follow the log of kernel {name}", read_on)


def _follow_by_asking(connection: Connection, name: KernelName, show: Callable[[str], None]) -> None:
    """What older clients (kaggle 2.0) do: ask for the whole log now and then, show what is new, until the end."""
    say(f"kaggle {version()} cannot follow a log: asking again every {FIRST_POLL:.0f} s")
    shown = 0
    while True:
        finished = status(connection, name).finished  # asked first, so that the last log is whole
        lines = logs(connection, name).splitlines()
        if not finished:
            lines = lines[:-1]  # the last one may be half written
        for line in lines[shown:]:
            show(line)
        shown = max(shown, len(lines))
        if finished:
            return
        backoff.pause(FIRST_POLL)


def _plain_log(text: str) -> str:
    """Kaggle keeps a log as a JSON list of pieces of output; anything else is shown as it is."""
    try:
        events = json.loads(text)
    except ValueError:
        return text
    return "".join(_pieces(events)) if isinstance(events, list) else text


def _pieces(events: list[Any]) -> Iterator[str]:
    for event in events:
        if isinstance(event, dict):
            yield str(event.get("data") or "")
