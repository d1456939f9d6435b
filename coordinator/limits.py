"""Every bound of the project, in one place; the unit is last in the name, and relations are asserted at import.

A bound that a user may set has a default here and a lawful range beside it. Figures that come from outside carry their
source.
"""

from __future__ import annotations

from typing import Final

# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────
COMPONENT_MAX_BYTES: Final = 255  # NAME_MAX of every file system in use; S3 Files the same (AWS)
RESOURCE_MAX_BYTES: Final = 512  # leaves room for our own folders below an S3 key's 1,024 bytes
S3_KEY_MAX_BYTES: Final = 1024  # AWS
AGENT_MAX_BYTES: Final = 64
ID_CHARS: Final = 20  # 100 random bits in base 32: incarnations, requests

# ── the record ───────────────────────────────────────────────────────────────────────────────────────────────────────
RECORD_MAX_BYTES: Final = 1000  # XFS takes symlink targets to 1,023 bytes, ext4 with 1 KB blocks the same (measured)
RECORD_PART_MAX_BYTES: Final = 255
EXTRA_MAX_BYTES: Final = 96  # fields of a newer version, carried along unread
WAITING_MAX: Final = 4
N_DIGITS: Final = 12
MILLIS_DIGITS: Final = 13  # Unix milliseconds until the year 2286
SIZE_DIGITS: Final = 10

# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────
TTL_DEFAULT_MS: Final = 30_000
TTL_MIN_MS: Final = 100
TTL_MAX_MS: Final = 24 * 3600 * 1000
WAIT_MAX_MS: Final = 30 * 24 * 3600 * 1000
TRUST_PERCENT: Final = 80  # P10: a holder trusts its lease this long
RENEW_PERCENT: Final = 50  # P11: renewed when this much of the trust is used
WATCHED_PERCENT: Final = 110  # P9: unchanged this long under a contender's eyes means silent
MOUNT_SKEW_MS: Final = 100  # P9: mtimes are in ms and may come from two servers behind one mount
MARGIN_MS: Final = 500  # P13: kept of an invocation; a release or a sync takes some ms, of a slow store some hundred
# P13: clocks whose spans are this far apart were set, or one of them stood still; slewing (0.5 ms a second) needs half
# an hour for it. What a shorter freeze does to a lease is found out by the lease's own reckoning (P10).
THAW_MS: Final = 1000
LEASES_TOGETHER_MAX: Final = 25  # acquired at once: one transaction of the table, which takes 100 (AWS)
TURN_MS: Final = 250  # P12: how long each place in line may leave a free lease untaken
POLL_MIN_MS: Final = 1  # a waiter's first pause; grows by half each time, up to
POLL_MAX_MS: Final = 50  # this, well below TURN_MS, so that a live waiter never misses its turn

# ── the queue lock (P5) ──────────────────────────────────────────────────────────────────────────────────────────────
QUEUE_WAIT_MAX_MS: Final = 1000
QUEUE_STUCK_WAIT_MAX_MS: Final = 20  # once waited for in vain, until it was had again
QUEUE_POLL_MIN_MS: Final = 0.2
QUEUE_POLL_MAX_MS: Final = 20
SYNC_WORD_WAIT_MAX_MS: Final = 10  # on a local disk: how long the author of a record is waited for to have synced it

# ── the chain (P18) ──────────────────────────────────────────────────────────────────────────────────────────────────
APPEND_TRIES: Final = 5  # P7: the same append again, after an error that left nothing behind
DECIDE_TRIES: Final = 1000  # P1: each one means that somebody else made progress
LIST_TRIES: Final = 50  # P6: a listed name was collected meanwhile: list again
CHAIN_KEEP: Final = 32  # records left by a collection
CHAIN_MAX: Final = 96  # a collection is due above this many
HISTORY_SEGMENTS_MAX: Final = 16  # small archive segments before they are merged into one
HISTORY_SEGMENT_BYTES: Final = 1 << 20  # a merged segment of this size is left alone
HISTORY_KEEP_MS: Final = 30 * 24 * 3600 * 1000
HISTORY_MAX_BYTES: Final = 16 << 20  # a resource; the oldest go first

# ── the table (P8) ───────────────────────────────────────────────────────────────────────────────────────────────────
TABLE_CONNECT_MS: Final = 1000  # DynamoDB answers in milliseconds: what takes longer is lost, and is tried again
TABLE_READ_MS: Final = 2000
TABLE_BUDGET_MS: Final = 10_000  # of all tries of one request; a lease's ttl, if that is shorter
TABLE_PAUSE_MIN_MS: Final = 25  # between two tries; doubled each time, up to
TABLE_PAUSE_MAX_MS: Final = 1000
TABLE_DATE_RTT_MS: Final = 1000  # an answer that took longer tells no time
TABLE_DATE_KEEP_MS: Final = 10_000  # how long the service's time is reckoned from its last answer
TABLE_SKEW_MS: Final = 2000  # P9: dates are whole seconds, and answers take their time
TABLE_LIVE_KEEP: Final = 4  # records left in an item by a collection
TABLE_LIVE_MAX: Final = 32  # a collection, three requests, is due above this many: an item stays near 2 KB
TABLE_HISTORY_RECORDS: Final = 20_000  # archived ones of a resource; the oldest go first
FLOCK_REFUSED_MS: Final = 5000  # P29: how long flock may be refused before the rule is moved to the table

# ── documents ────────────────────────────────────────────────────────────────────────────────────────────────────────
DOCUMENT_MAX_BYTES: Final = 64 << 20  # a whole-content commit copies the document; larger files want an artifact
ORPHAN_KEEP_MS: Final = 7 * 24 * 3600 * 1000  # refused content stays in snap/ this long
CLOCK_FILE_KEEP_MS: Final = 3600 * 1000  # of a process that was killed; a live one makes its own anew
SCRATCH_KEEP_MS: Final = 24 * 3600 * 1000
SNAPSHOT_BYTES_DUE: Final = 64 << 20  # committed by one process since it last collected
HEADS_KNOWN_MAX: Final = 64  # a document, in memory
PUBLISH_TRIES: Final = 100  # P16: each one means that the head moved

# ── logs (P19 to P22) ────────────────────────────────────────────────────────────────────────────────────────────────
FRAME_MAX_BYTES: Final = 1 << 20  # the JSON of one frame
SEGMENT_BYTES: Final = 64 << 10  # a segment of a log before the next one is begun
LOG_TRIES: Final = 3  # segments begun for one append, after errors

# ── the inbox (log/inbox.py) ─────────────────────────────────────────────────────────────────────────────────────────
INBOX_FRAME_MAX_BYTES: Final = 64 << 10  # an operation that goes through the table
INBOX_MAX_BYTES: Final = 192 << 10  # of one writer's, that wait to be folded: an item has 400 KB (AWS)
INBOX_POLL_MS: Final = 200  # how often one compactor looks
INBOX_UNREAD_MS: Final = 30_000  # and how long it does without, when the table did not answer
INBOX_ASK_MIN_MS: Final = 50  # a writer's first pause before it asks for its outcomes; grows by half each time, up to
INBOX_ASK_MAX_MS: Final = 1000

# ── folds (P24 to P27) ───────────────────────────────────────────────────────────────────────────────────────────────
FOLD_FILE_BYTES: Final = 1 << 20  # a file of fold lines before the next one is begun
FOLD_TRIES: Final = 3  # new files begun for one line, after errors
FOLD_BATCH_BYTES: Final = 1 << 20  # of logs, read for one fold
CHECKPOINT_MIN_BYTES: Final = 256 << 10  # of fold lines; above it, a checkpoint when they outweigh the last one
CHECKPOINT_FILES: Final = 64  # or when the lines since stand in so many files: each process writes its own
IDS_MAX: Final = 32_768  # operation ids that a checkpoint carries; older ones are looked up in the lines that are kept
FOLD_KEEP_BYTES: Final = 32 << 20  # of fold lines, kept for changes() and for ids
FOLD_FILES_MAX: Final = 256  # files of fold lines, kept likewise
RETIRE_AFTER_MS: Final = 3600 * 1000  # a log that grew no longer for this long is retired (P27)
WATCH_POLL_MAX_MS: Final = 250  # of those who watch a document, or wait for a task
VIEW_PAUSE_MIN_MS: Final = 50  # between two refreshes of the plain file by folds,
VIEW_BYTES_PER_MS: Final = 2000  # and longer the larger it is
SHOWN_KEEP: Final = 16  # renderings kept at least, to know what an edit by hand was made from (P17)
UPDATE_WAIT_DEFAULT_MS: Final = 10_000  # how long an update waits to be applied
LEAD_AFTER_MS: Final = 8  # a waiter that has to catch up first leaves the fold this long to who need not
LEAD_AFTER_MAX_MS: Final = 20  # however long operations took lately: its own waiting is part of that
READ_UP_BYTES_PER_MS: Final = 10_000  # of a document that is read for the first time; about 60 to 150 measured, in 2026
READ_UP_MAX_MS: Final = 5000  # the longest that a waiter leaves the fold to others for the sake of that
FAR_LEAD_AFTER_MAX_MS: Final = 1000  # the same over a network
FAR_POLL_MAX_MS: Final = 400  # over a network: a waiter's longest pause
FOLD_PATIENCE_MAX_MS: Final = 3000  # how slow whoever folds may at most be before it is taken to be frozen; times 1 to
FOLD_STUCK_PATIENCE_MAX_MS: Final = 500  # 3, for each waiter another; and once that was waited for in vain

# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────────
FORMAT: Final = 1  # what this version writes into .coordinator/format.json, and reads


def _assert_relations() -> None:
    relations = {
        "a waiter looks several times within its turn": POLL_MAX_MS * 4 <= TURN_MS,
        "the holder stops trusting before anyone may take over": TRUST_PERCENT < 100 < WATCHED_PERCENT,
        "renewal comes well before the trust ends": RENEW_PERCENT <= 75,
        "a collection leaves fewer than make one due": CHAIN_KEEP * 2 <= CHAIN_MAX,
        "two readings of the table's clock differ by less than its skew": 1000 + TABLE_DATE_RTT_MS <= TABLE_SKEW_MS,
        "a collection of an item leaves fewer than make one due": TABLE_LIVE_KEEP * 2 <= TABLE_LIVE_MAX,
        "n, times and sizes fit their digits": TTL_MAX_MS < 10**9 and DOCUMENT_MAX_BYTES < 10**SIZE_DIGITS,
        "a record fits every file system's symlink": RECORD_MAX_BYTES <= 1023,
        # .coordinator/resources/ + the name, every second byte of it an escaped @ + /@/snap/ + the longest file name
        "state paths fit an S3 key, with 120 bytes for its prefix": 23 + RESOURCE_MAX_BYTES * 3 // 2 + 8 + 98 + 120
        <= S3_KEY_MAX_BYTES,
    }
    broken = [text for text, holds in relations.items() if not holds]
    if broken:
        raise AssertionError(f"limits.py contradicts itself: {broken}")


_assert_relations()
