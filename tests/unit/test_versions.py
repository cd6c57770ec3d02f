"""RabbitMQ's versions, judged."""

import pytest

from muniflow.transport.versions import DIFFERENCES, NEWEST, OLDEST, differences, judge, parse


@pytest.mark.parametrize(
    ("version", "expected"),
    [("3.10.8", (3, 10)), ("4.0.5", (4, 0)), ("4.3.6+beta", (4, 3)), ("?", None), ("", None), ("x4.0", None)],
)
def test_the_numbers_of_a_version(version, expected):
    assert parse(version) == expected


@pytest.mark.parametrize(
    ("product", "version", "level", "to_do"),
    [
        ("RabbitMQ", "3.9.29", "error", "needs 3.10 or later"),
        ("RabbitMQ", "3.10.8", "ok", "3.13 first"),
        ("RabbitMQ", "3.13.7", "ok", "enable_feature_flag all"),
        ("RabbitMQ", "4.0.5", "ok", ""),
        ("RabbitMQ", "4.3.6", "ok", ""),
        ("RabbitMQ", "4.4.0", "warning", "make test-brokers"),
        ("RabbitMQ", "5.0.0", "warning", "4.3 is the newest"),
        ("LavinMQ", "2.0.0", "warning", "RabbitMQ only"),
    ],
)
def test_what_is_said_of_a_version(product, version, level, to_do):
    judged = judge(product, version)
    assert judged.level == level
    assert version in judged.what
    assert to_do in judged.to_do
    assert bool(judged.to_do) == bool(to_do)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("3.10.8", ["taken back", "128 MiB", "muniflow declares 20", "hands back counts"]),
        ("4.0.5", ["for a week", "over 16 MiB are refused", "get 20", "hands back counts"]),
        ("4.3.6", ["for a week", "over 16 MiB are refused", "get 20", "does not count"]),
        ("?", []),
    ],
)
def test_what_is_special_about_a_version(version, words):
    said = differences(version)
    assert len(said) == len(words)
    assert all(word in text for word, text in zip(words, said, strict=True))


def test_every_difference_is_inside_the_tested_range():
    assert all(OLDEST < each.since <= NEWEST for each in DIFFERENCES)
