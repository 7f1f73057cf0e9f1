"""What the stand-in knows: an account, a competition, its submissions and leaderboard, kernels; and faults to come."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field

USER, KEY, TOKEN = "tester", "0123456789abcdef0123456789abcdef", "KGAT_standin0123456789abcdef"
COMPETITION = "dog-breed-identification"


@dataclass
class Fault:
    """What goes wrong with the next requests whose path holds ``path``.

    Attributes:
        path: part of the path.
        kind: ``status`` (an error as JSON), ``cut`` (half of the body), ``stall`` (half of the
            body, then silence), ``drop`` (no answer, nothing done),
            ``drop_after`` (done, but no answer), ``slow`` (no answer until the client has given up), ``html``.
        status: for ``status``.
        message: for ``status``.
        times: requests that suffer.
        headers: of the answer.
        skip: requests that pass before.
    """

    path: str
    kind: str = "status"
    status: int = 500
    message: str = "stand-in fault"
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    skip: int = 0


@dataclass
class Kernel:
    """A kernel: sources of its versions, states to report one after the other (the last stays), and its output."""

    title: str
    versions: list[dict] = field(default_factory=list)
    states: list[str] = field(default_factory=lambda: ["QUEUED", "RUNNING", "COMPLETE"])
    failure: str = ""
    files: list[tuple[str, bytes]] = field(default_factory=list)
    log: str = ""
    broken: dict[str, bytes] = field(default_factory=dict)
    earlier: dict[int, Kernel] = field(default_factory=dict)


class World:
    """All of it. Requests are handled under one lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.requests: list[tuple[str, str]] = []
        self.escapes: list[str] = []
        self.leaks: list[str] = []
        self.crashes: list[str] = []
        self.faults: list[Fault] = []
        self.release = threading.Event()
        self.accepted = {f"Basic {base64.b64encode(f'{USER}:{KEY}'.encode()).decode()}", f"Bearer {TOKEN}"}
        self.archive, self.archive_date, self.archive_md5 = b"", "Mon, 01 Jan 2018 00:00:00 GMT", ""
        self.entered, self.disabled = True, False
        self.daily, self.submissions, self.uploads = 5, [], {}
        self.scores = ["PENDING", "COMPLETE"]
        self.board: list[tuple[str, float]] = [(f"team {i}", 0.001 + 0.01 * i) for i in range(450)]
        self.kernels: dict[str, Kernel] = {}
        self.planned: dict[str, Kernel] = {}
        self.offered: list[tuple[Kernel, str, bytes]] = []
        self.sources = {COMPETITION, f"{USER}/dogbreed-kit-offline"}
        self.quota = {"timeUsed": "7200s", "totalTimeAllowed": "108000s"}

    # ---- faults

    def fault_for(self, path: str) -> Fault | None:
        """The fault that this request suffers; its count goes down."""
        for fault in self.faults:
            if fault.path in path and fault.times > 0:
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    # ---- competition

    def etag(self) -> str:
        return '"' + hashlib.sha256(self.archive).hexdigest()[:16] + '"'

    def create_submission(self, body: dict) -> tuple[int, dict]:
        name, content = self.uploads.pop(body.get("blobFileTokens", ""), (None, b""))
        if name is None:
            return 400, {"code": 400, "message": "unknown upload token"}
        if not self.entered:
            return 403, {"code": 403, "message": "You must accept this competition's rules before you can submit."}
        if len(self.submissions) >= self.daily:
            told = f"Your team has used its daily Submission allowance ({self.daily} of {self.daily})."
            return 400, {"code": 400, "message": told}
        self.submissions.append(
            {
                "ref": 1000 + len(self.submissions),
                "fileName": name,
                "description": body.get("submissionDescription", ""),
                "date": "2026-11-20T12:00:00.000Z",
                "totalBytes": len(content),
                "teamName": "the testers",
                "sha": hashlib.sha256(content).hexdigest(),
                "looks": 0,
            }
        )
        return 200, {
            "message": "Successfully submitted to Dog Breed Identification",
            "ref": self.submissions[-1]["ref"],
        }

    def list_submissions(self, body: dict) -> dict:
        shown = []
        for item in reversed(self.submissions):
            scores = item.get("scores", self.scores)
            status = scores[min(item["looks"], len(scores) - 1)]
            item["looks"] += 1
            told = {key: value for key, value in item.items() if key not in ("looks", "sha", "scores")} | {
                "status": status
            }
            if status == "COMPLETE":
                told |= {"publicScore": "0.28031", "privateScore": "0.29112"}
            if status == "ERROR":
                told |= {"errorDescription": "Evaluation Exception: Submission must have 1000 rows"}
            shown.append(told)
        size = body.get("pageSize", 20)
        start = int(body.get("pageToken") or 0)
        after = str(start + size) if start + size < len(shown) else ""
        return {"submissions": shown[start : start + size], "nextPageToken": after}

    def leaderboard(self, body: dict) -> dict:
        size, start = body.get("pageSize", 20), int(body.get("pageToken") or 0)
        lines = [
            {"teamId": i, "teamName": team, "score": f"{score:.5f}", "submissionDate": "2018-02-20T10:00:00.000Z"}
            for i, (team, score) in enumerate(self.board[start : start + size], start)
        ]
        return {"submissions": lines, "nextPageToken": str(start + size) if start + size < len(self.board) else ""}

    # ---- kernels

    def save_kernel(self, body: dict) -> tuple[int, dict]:
        owner, slug = body.get("slug", "/").split("/")
        title = body.get("newTitle") or slug
        if owner != USER:
            return 403, {"code": 403, "message": "Permission 'kernels.update' was denied"}
        titled = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        taken = self.kernels.get(slug)
        if taken is not None and taken.title != title and titled in self.kernels:
            told = f'The requested title "{title}" is already in use by a notebook. Please choose another title.'
            return 200, {"error": told}
        kernel = self.kernels.setdefault(titled, self.planned.pop(titled, Kernel(title)))
        kernel.title = title
        kernel.versions.append(body)
        wanted = {
            "invalidDatasetSources": body.get("datasetDataSources", []),
            "invalidCompetitionSources": body.get("competitionDataSources", []),
            "invalidKernelSources": body.get("kernelDataSources", []),
        }
        lacking = {key: [item for item in items if item not in self.sources] for key, items in wanted.items()}
        return 200, {
            "ref": f"/code/{USER}/{titled}",
            "url": f"https://www.kaggle.com/code/{USER}/{titled}",
            "versionNumber": len(kernel.versions),
            "invalidTags": [tag for tag in body.get("categoryIds", []) if tag != "dogs"],
            **{key: items for key, items in lacking.items() if items},
        }

    def kernel(self, body: dict) -> Kernel | None:
        """The version that is asked for: the latest without a label; a label is written v1, v2, ..."""
        kernel = self.kernels.get(body.get("kernelSlug", "")) if body.get("userName") == USER else None
        label = body.get("versionLabel")
        if kernel is None or label in (None, f"v{len(kernel.versions)}"):
            return kernel
        number = label.removeprefix("v")
        return kernel.earlier.get(int(number)) if label.startswith("v") and number.isdigit() else None

    def status(self, kernel: Kernel) -> dict:
        state = kernel.states.pop(0) if len(kernel.states) > 1 else kernel.states[0]
        return {"status": state, **({"failureMessage": kernel.failure} if kernel.failure else {})}

    def outputs(self, kernel: Kernel, base: str, body: dict) -> dict:
        size, start = body.get("pageSize", 20), int(body.get("pageToken") or 0)
        first = len(self.offered)
        self.offered += [(kernel, name, content) for name, content in kernel.files]
        files = [
            {"fileName": name, "url": f"{base}/output/{first + index}?X-Goog-Signature=abcdef0123456789"}
            for index, (name, _) in enumerate(kernel.files)
        ]
        after = str(start + size) if start + size < len(files) else ""
        log = json.dumps(
            [{"stream_name": "stdout", "time": 0.1, "data": line + "\n"} for line in kernel.log.splitlines()]
        )
        return {"files": files[start : start + size], "log": log, "nextPageToken": after}
