"""Does a recorded history of document writes and reads have a linear order?

The document is one register with compare-and-set, and every acknowledged write is told its revision, so the
order is known: revisions count up by one. What is left to check (Herlihy and Wing, 1990) is that this order
respects real time, and that everyone saw the document that belongs to the revision:

- a read returns the newest revision: not one that was made after the read ended, and none older than what anyone
  had seen or had acknowledged before the read began;
- a write takes effect between its call and its answer;
- no two documents share a revision, and no acknowledged document is missing;
- a write that expected a revision replaced just that one; a conflict was true at some moment of its call.

A write without an answer may have taken effect at any time after its call, or not at all.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One call and its answer, as the client saw it. Times are of one monotonic clock, in seconds."""
    kind: str            # "write" or "read"
    began: float
    ended: float
    outcome: str         # "ok", "conflict", "refused" (surely not written), "unknown"
    revision: int = 0    # made, read, or named by the conflict
    document: str = ""   # the mark of the document written or read
    expected: int | None = None
    through: str = ""
    why: str = ""        # of an outcome that is not "ok"


def check(operations: list[Operation], ledger: dict[int, str]) -> list[str]:
    """Every contradiction, in words; none where the history is linearizable. `ledger` is what the cluster's own
    history told in the end and on the way: revision to document."""
    wrong: list[str] = []
    documents = dict(ledger)
    acknowledged: dict[int, Operation] = {}
    called: dict[str, Operation] = {}
    for one in operations:
        if one.kind == "write":
            called[one.document] = one
    for one in operations:
        if one.outcome != "ok":
            continue
        if one.kind == "write":
            twin = acknowledged.setdefault(one.revision, one)
            if twin is not one:
                wrong.append(f"revision {one.revision} was acknowledged twice: {twin} and {one}")
        known = documents.setdefault(one.revision, one.document)
        if known != one.document:
            wrong.append(f"revision {one.revision} is {known!r} and {one.document!r}: {one}")
        if one.kind == "write" and one.expected is not None and one.expected != one.revision - 1:
            wrong.append(f"it expected {one.expected} and replaced {one.revision - 1}: {one}")
    for revision, one in acknowledged.items():
        if ledger and min(ledger) <= revision and ledger.get(revision) != one.document:
            wrong.append(f"acknowledged and lost: {one}; the ledger has {ledger.get(revision)!r} there")

    # When each revision is known to exist at the latest, and to be made at the earliest.
    seen: dict[int, float] = {}
    for one in operations:
        if one.outcome in ("ok", "conflict"):
            seen[one.revision] = min(seen.get(one.revision, one.ended), one.ended)
    made: dict[int, float] = {}
    for revision, document in documents.items():
        if document in called:
            made[revision] = called[document].began
    newest_by = sorted((moment, revision) for revision, moment in seen.items())
    highest: list[tuple[float, int]] = []
    for moment, revision in newest_by:
        if not highest or revision > highest[-1][1]:
            highest.append((moment, revision))

    def at_least(moment: float) -> int:
        """The newest revision somebody had seen before that moment."""
        low, high = 0, len(highest)
        while low < high:
            middle = (low + high) // 2
            if highest[middle][0] < moment:
                low = middle + 1
            else:
                high = middle
        return highest[low - 1][1] if low else 0

    for one in operations:
        floor = at_least(one.began)
        if one.outcome == "ok" and one.kind == "read" and one.revision < floor:
            wrong.append(f"an old document: {floor} was seen before this read began: {one}")
        if one.outcome == "ok" and one.kind == "write" and one.revision <= floor:
            wrong.append(f"{floor} was seen before this write began: {one}")
        if one.outcome == "ok" and made.get(one.revision, one.began) > one.ended:
            wrong.append(f"a document of the future: {one}")
        if one.outcome == "conflict":
            if one.revision == one.expected:
                wrong.append(f"a conflict with what it expected: {one}")
            if one.revision < floor:
                wrong.append(f"an old conflict: {floor} was seen before this write began: {one}")
    return wrong


def try_out() -> None:
    """The checker's own test: it takes a good history and finds each planted contradiction."""
    def write(began, ended, revision, document, outcome="ok", expected=None):
        return Operation("write", began, ended, outcome, revision, document, expected)

    def read(began, ended, revision, document):
        return Operation("read", began, ended, "ok", revision, document)

    good = [write(0, 1, 1, "a"), read(0.5, 1.5, 1, "a"), write(2, 4, 2, "b", expected=1),
            read(2.5, 3, 1, "a"), read(3, 3.5, 2, "b"), read(5, 6, 2, "b"),
            write(5, 6, 2, "c", "conflict", 1), write(6, 9, 0, "d", "unknown"), read(10, 11, 3, "d")]
    ledger = {1: "a", 2: "b", 3: "d"}
    assert check(good, ledger) == [], check(good, ledger)
    planted = {
        "a stale read": (good + [read(12, 13, 2, "b")], ledger),
        "two documents at a revision": (good + [read(12, 13, 3, "x")], ledger),
        "a lost write": (good + [write(12, 13, 4, "e")], ledger | {4: "f"}),
        "a revision given twice": (good + [write(3, 12, 2, "z")], ledger),
        "an expectation ignored": (good + [write(12, 13, 4, "e", expected=2)], ledger | {4: "e"}),
        "a read of the future": ([read(0, 1, 1, "a"), write(2, 3, 1, "a")], {1: "a"}),
        "a conflict that never was": (good + [write(12, 13, 3, "e", "conflict", 3)], ledger),
        "an old conflict": (good + [write(12, 13, 1, "e", "conflict", 3)], ledger),
    }
    for name, (operations, known) in planted.items():
        assert check(operations, known), f"the checker did not notice {name}"


if __name__ == "__main__":
    try_out()
    print("the checker takes a good history and notices every planted contradiction")
