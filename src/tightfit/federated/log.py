"""The log of accepted contributions: a file of SQLite's, from which a server that died goes on where it stood.

What was acknowledged is on the disk. The sums are not: they are added up again from the contributions when the log is
opened, and must be those of the heads that were written beside them.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from threading import Lock

from tightfit.federated.contribution import Contribution, Refused, read
from tightfit.federated.terms import Terms, added, terms_in

TABLES = """
CREATE TABLE IF NOT EXISTS terms (said TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contributions (
    client TEXT NOT NULL, round INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (client, round)
);
CREATE TABLE IF NOT EXISTS rounds (round INTEGER PRIMARY KEY, head TEXT NOT NULL); -- that ended; head of the next
CREATE TABLE IF NOT EXISTS refusals (
    client TEXT NOT NULL, kind TEXT NOT NULL, times INTEGER NOT NULL, last TEXT NOT NULL, PRIMARY KEY (client, kind)
);
"""


class FederationLog:
    """Takes contributions and ends rounds; safe to call from several threads.

    patience: seconds after which a round with a contribution ends without the others.
    Raises ValueError for a file that is damaged, of other terms, or another process's.
    """

    def __init__(
        self, path: Path, terms: Terms, patience: float = float("inf"), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.terms, self._path, self._patience, self._clock = terms, path, patience, clock
        self._lock = Lock()
        self._file = path.with_name(f"{path.name}.lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ValueError(f"{path} is served by another process; stop it, or name another log") from None
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self.close()
            raise ValueError(f"{path} is no log of a federation ({error}); name another, or put it back") from error
        except ValueError:
            self.close()
            raise

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")  # in WAL mode less than that may forget what was acknowledged
        self._db.executescript(TABLES)
        kept = self._db.execute("SELECT said FROM terms").fetchone()
        if kept is None:
            with self._db:
                self._db.execute("INSERT INTO terms VALUES (?)", (json.dumps(asdict(self.terms)),))
        elif told := terms_in(kept[0]).differs(self.terms):
            raise ValueError(f"{self._path} is of another federation ({told}); say the same words, or name another log")
        self.round, self.sums = 0, [0] * self.terms.pool
        for number, head in self._db.execute("SELECT round, head FROM rounds ORDER BY round").fetchall():
            self._take(number, self._of_round(number))
            if number + 1 != self.round or head != self.head:
                raise ValueError(f"{self._path} is damaged: round {number} does not add up; put the whole file back")
        self._waiting = self._of_round(self.round)
        last = self._db.execute("SELECT max(round) FROM contributions").fetchone()[0]
        if len(self._waiting) >= self.terms.contributions or (last or 0) > self.round:
            raise ValueError(f"{self._path} is damaged: the end of round {self.round} is lost; put the whole file back")
        self._begun = self._clock()

    def _of_round(self, number: int) -> list[Contribution]:
        rows = self._db.execute("SELECT body FROM contributions WHERE round = ?", (number,))
        try:
            return [read(body, self.terms) for (body,) in rows]
        except Refused as error:
            raise ValueError(f"{self._path} is damaged: in round {number} {error}") from error

    def close(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        self._file.close()

    @property
    def head(self) -> str:
        return self.terms.head(self.round, self.sums)

    def state(self) -> tuple[int, str, list[int]]:
        """The round that takes contributions now, its head, and the sums (pool,) that its clients step from."""
        with self._lock:
            self._end_if_due()
            return self.round, self.head, self.sums

    def accept(self, body: bytes) -> bool:
        """Take a contribution; returns whether it is new: one that was taken before is acknowledged again.

        Raises Refused, and counts that, for one that does not count.
        """
        with self._lock:
            self._end_if_due()
            try:
                contribution = read(body, self.terms)
                if self._was_taken(contribution):
                    return False
                self._check_state(contribution)
            except Refused as error:
                self._count(error)
                raise
            together = [*self._waiting, contribution]
            with self._db:
                row = (contribution.client, contribution.round, bytes(contribution))
                self._db.execute("INSERT INTO contributions VALUES (?, ?, ?)", row)
                if len(together) == self.terms.contributions:
                    self._write_end(together)
            # Only now, when it is on the disk.
            if len(together) == self.terms.contributions:
                self._take(self.round, together)
            else:
                self._waiting = together
            return True

    def _was_taken(self, contribution: Contribution) -> bool:
        key = contribution.client, contribution.round
        kept = self._db.execute("SELECT body FROM contributions WHERE client = ? AND round = ?", key).fetchone()
        if kept is not None and kept[0] != bytes(contribution):
            said = f"other numbers came for round {contribution.round} before; the first count, so send each round once"
            raise Refused("changed", contribution.client, said)
        return kept is not None

    def _check_state(self, contribution: Contribution) -> None:
        client, number = contribution.client, contribution.round
        if self.round >= self.terms.rounds:
            raise Refused("round", client, f"the federation is over after {self.terms.rounds} rounds; GET /sums")
        if number != self.round:
            raise Refused("round", client, f"round {number} is not open, {self.round} is; catch up by GET /sums")
        if contribution.head != self.head:
            claimed, own = contribution.head[:12], self.head[:12]
            raise Refused("head", client, f"head {claimed} is not that of round {number}, {own}; catch up by GET /sums")

    def _count(self, refused: Refused) -> None:
        with self._db:
            self._db.execute(
                "INSERT INTO refusals VALUES (?, ?, 1, ?) "
                "ON CONFLICT DO UPDATE SET times = times + 1, last = excluded.last",
                (refused.client, refused.kind, str(refused)),
            )

    def refusals(self) -> dict[str, int]:
        """How many contributions were refused, by kind."""
        with self._lock:
            return dict(
                self._db.execute("SELECT kind, sum(times) FROM refusals GROUP BY kind ORDER BY kind").fetchall()
            )

    def _end_if_due(self) -> None:
        if self._waiting and self._clock() - self._begun >= self._patience:
            with self._db:
                self._write_end(self._waiting)
            self._take(self.round, self._waiting)

    def _write_end(self, together: list[Contribution]) -> None:
        head = self.terms.head(self.round + 1, self._sums_after(together))
        self._db.execute("INSERT INTO rounds VALUES (?, ?)", (self.round, head))

    def _take(self, number: int, together: list[Contribution]) -> None:
        """Go from round `number`, whose contributions are `together`, to the next."""
        self.sums, self.round = self._sums_after(together), number + 1
        self._waiting: list[Contribution] = []
        self._begun = self._clock()

    def _sums_after(self, together: list[Contribution]) -> list[int]:
        return added(self.sums, (move for contribution in together for move in contribution.moves()))
