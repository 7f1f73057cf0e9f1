"""How things stand on Kaggle: submissions, what is left of the day's, the leaderboard, the week's accelerator hours."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from competition import environment
from competition.console import warn
from competition.prediction.ledger.ledger import Ledger, now
from competition.publish.kaggle.client import UPGRADE, Connection, knows, version
from competition.publish.kaggle.errors import RULES, KaggleError, Kind
from competition.publish.kaggle.redact import one_line

_MARK = re.compile(r"\[dogbreed ([0-9a-f]{16})\]")
_PAGES, _PAGE = 50, 100
SETTINGS = "https://www.kaggle.com/settings"


@dataclass(frozen=True)
class Submission:
    """A submission as Kaggle remembers it; scores are NaN while there are none."""

    ref: int
    date: str
    file: str
    description: str
    status: str
    public_score: float
    private_score: float
    error: str
    team: str

    @property
    def digest(self) -> str:
        """Digest of the file, which the kit writes into the description; empty for other submissions."""
        found = _MARK.search(self.description)
        return found.group(1) if found else ""

    @property
    def told(self) -> str:
        """Its scores, or why it has none."""
        if self.status != "COMPLETE":
            return f"{self.status}{': ' + self.error if self.error else ''}"
        private = f", private {self.private_score:.5f}" if not math.isnan(self.private_score) else ""
        return f"public {self.public_score:.5f}{private}"


@dataclass(frozen=True)
class Limits:
    """Submissions made today and altogether, those still allowed now, and whether a lifetime cap is the reason.

    ``left`` is None where the client cannot tell it: ``today`` is then the ledger's count, Kaggle has the last word.
    """

    today: int
    total: int
    left: int | None
    lifetime: bool = False

    @property
    def told(self) -> str:
        """Both in words."""
        if self.left is not None:
            return f"{self.today} today, {self.left} left"
        return f"{self.today} today by the ledger's count (UTC); kaggle {version()} cannot tell how many are left"

    def require_one(self) -> None:
        """Stop before an upload that would be refused. Where that is not known, the work goes on and says so.

        Raises:
            KaggleError: nothing is left.
        """
        if self.left is None:
            warn(f"{self.told}: going on, Kaggle refuses what is too many ({UPGRADE} asks first)")
            return
        # all zero also means: no team yet, which the first submission changes
        if self.left > 0 or not (self.today or self.total):
            return
        when = "for this competition" if self.lifetime else "for today; the count starts again at midnight UTC"
        raise KaggleError(f"no submission is left {when} ({self.today} made today, {self.total} in all)", Kind.LIMIT)


@dataclass(frozen=True)
class Place:
    """One line of the leaderboard."""

    rank: int
    team: str
    score: float
    date: str


@dataclass(frozen=True)
class Quota:
    """Hours of an accelerator in this week."""

    name: str
    used_hours: float
    total_hours: float
    refresh: str


def mark(message: str, digest: str) -> str:
    """A submission's description: the message, and the file's digest by which it is found again."""
    return f"{one_line(message, 200)} [dogbreed {digest}]".strip()


def submissions(connection: Connection, competition: str = environment.COMPETITION) -> tuple[Submission, ...]:
    """All submissions of the account, newest first.

    Raises:
        KaggleError: Kaggle refuses or cannot be reached.
    """
    from kagglesdk.competitions.types.competition_api_service import ApiListSubmissionsRequest

    request = ApiListSubmissionsRequest()
    request.competition_name, request.page_size, request.page_token = competition, _PAGE, ""

    def page(services: Any) -> Any:
        return services.competitions.competition_api_client.list_submissions(request)

    found: list[Submission] = []
    for _ in range(_PAGES):
        answer = connection.call("list the submissions", page)
        found += [_submission(item) for item in answer.submissions or ()]
        request.page_token = answer.next_page_token or ""
        if not request.page_token:
            break
    return tuple(found)


def _submission(item: Any) -> Submission:
    return Submission(
        ref=int(item.ref or 0),
        date=_date(item.date),
        file=one_line(item.file_name or "", 80),
        description=one_line(item.description or "", 260),
        status=item.status.name,
        public_score=_number(item.public_score),
        private_score=_number(item.private_score),
        error=one_line(item.error_description or ""),
        team=one_line(item.team_name or "", 80),
    )


def limits(
    connection: Connection, ledger: Ledger, listed: Sequence[Submission], competition: str = environment.COMPETITION
) -> Limits:
    """What is left of the day's submissions.

    Args:
        connection: to Kaggle.
        ledger: counts the day's submissions where the client cannot ask (kaggle 2.0).
        listed: all submissions that Kaggle knows; those made elsewhere count, too.
        competition: slug.

    Raises:
        KaggleError: Kaggle refuses or cannot be reached.
    """

    def ask(services: Any) -> Limits | None:
        client = services.competitions.competition_api_client
        if not knows(client, "get_submission_limits"):
            return None
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionLimitsRequest

        request = ApiGetSubmissionLimitsRequest()
        request.competition_name = competition
        answer = client.get_submission_limits(request)
        return Limits(answer.num_today, answer.num_total, answer.num_allowed_now, answer.limited_by_total)

    today = now()[:10]  # Kaggle's day is UTC's, too
    shown = sum(item.date.startswith(today) for item in listed)
    return connection.call("ask how many submissions are left", ask) or Limits(
        max(ledger.sent_on(today), shown), len(listed), None
    )


def require_entered(connection: Connection, competition: str = environment.COMPETITION) -> None:
    """Stop when the rules are not accepted, or nothing is taken any more.

    Raises:
        KaggleError: as said, or the competition does not exist.
    """
    from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

    request = ApiGetCompetitionRequest()
    request.competition_name = competition
    found = connection.call(
        f"look at competition {competition}",
        lambda services: services.competitions.competition_api_client.get_competition(request),
    )
    if not found.user_has_entered:
        where = RULES.replace(environment.COMPETITION, competition)
        raise KaggleError(f"you have not entered {competition}: accept its rules first, at {where}", Kind.RULES)
    if found.submissions_disabled:
        raise KaggleError(f"{competition} takes no submissions any more", Kind.LIMIT)


def leaderboard(
    connection: Connection, competition: str = environment.COMPETITION, most: int = 10_000
) -> tuple[Place, ...]:
    """The public leaderboard, best first.

    Args:
        connection: to Kaggle.
        competition: slug.
        most: lines.

    Raises:
        KaggleError: Kaggle refuses or cannot be reached.
    """
    from kagglesdk.competitions.types.competition_api_service import ApiGetLeaderboardRequest

    request = ApiGetLeaderboardRequest()
    request.competition_name, request.page_size, request.page_token = competition, 200, ""

    def page(services: Any) -> Any:
        return services.competitions.competition_api_client.get_leaderboard(request)

    found: list[Place] = []
    for _ in range(_PAGES):
        answer = connection.call("read the leaderboard", page)
        for item in answer.submissions or ():
            team = one_line(item.team_name or "", 60)
            found.append(Place(len(found) + 1, team, _number(item.score), _date(item.submission_date)))
        request.page_token = answer.next_page_token or ""
        if not request.page_token or len(found) >= most:
            break
    return tuple(found[:most])


def place_of(score: float, board: Sequence[Place]) -> int:
    """The rank that a log loss would take: one more than the number of better ones. Ties share the better rank."""
    return 1 + sum(place.score < score for place in board)


def quota(connection: Connection) -> tuple[Quota, ...]:
    """Accelerator hours of this week.

    Raises:
        KaggleError: the client cannot ask (kaggle 2.0), Kaggle refuses or cannot be reached.
    """

    def ask(services: Any) -> Any:
        client = services.kernels.kernels_api_client
        if not knows(client, "get_accelerator_quota_statistics"):
            raise KaggleError(f"kaggle {version()} cannot tell the quota: {UPGRADE}, or look at {SETTINGS}")
        from kagglesdk.kernels.types.kernels_api_service import ApiGetAcceleratorQuotaStatisticsRequest

        return client.get_accelerator_quota_statistics(ApiGetAcceleratorQuotaStatisticsRequest())

    answer = connection.call("ask for the accelerator quota", ask)
    refresh = _date(answer.quota_refresh_time)
    return tuple(
        Quota(name, _hours(item.time_used), _hours(item.total_time_allowed), refresh)
        for name, item in (("GPU", answer.gpu_quota), ("TPU", answer.tpu_quota))
        if item is not None
    )


def plain(record: object) -> dict[str, object]:
    """A record of this module for JSON: None for a score that is not known."""
    values = asdict(record)  # type: ignore[call-overload]
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


def _hours(span: Any) -> float:
    return span.total_seconds() / 3600 if span is not None else 0.0


def _date(moment: Any) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else ""


def _number(text: object) -> float:
    """A score, NaN when there is none."""
    try:
        return float(str(text))
    except ValueError:
        return math.nan
