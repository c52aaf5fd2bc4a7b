"""Reads records with Confluent's consumer."""

import time

from confluent_kafka import Consumer


def records(bootstrap, topic, count):
    """The first records of a topic, which has one partition."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "outbox-test",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    consumer.subscribe([topic])
    deadline = time.monotonic() + 120
    found = []
    try:
        while len(found) < count:
            message = consumer.poll(1)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} records, not {count}")
            if message is not None and message.error() is None:
                found.append(message)
    finally:
        consumer.close()
    return found
