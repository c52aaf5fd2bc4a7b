"""run_consumer.py RECIPE SERVERS TOPIC GROUP [KEY]: runs a recipe for consumers up
to the end of the topic, which has one partition, and notes each event in the
table handled. At the event with that key the process ends, before its commit."""

import importlib
import os
import sys

import psycopg
from confluent_kafka import (OFFSET_STORED, Consumer, KafkaError,
                             TopicPartition)

recipe, servers, topic, group = sys.argv[1:5]
fatal = sys.argv[5].encode() if len(sys.argv) > 5 else None
consume = importlib.import_module(recipe).consume


class Reader(Consumer):
    at_end = False

    def poll(self, timeout):
        message = super().poll(timeout)
        if (message is not None and message.error()
                and message.error().code() == KafkaError._PARTITION_EOF):
            self.at_end = True
            return None
        return message


def handle(connection, message):
    connection.execute("INSERT INTO handled (key) VALUES (%s)",
                       [message.key().decode()])
    if message.key() == fatal:
        os._exit(3)


consumer = Reader({
    "bootstrap.servers": servers,
    "group.id": group,
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
})
# as a member of a group it would wait until the one that has died is given up
consumer.assign([TopicPartition(topic, 0, OFFSET_STORED)])
with psycopg.connect("", autocommit=True) as connection:
    consume(consumer, connection, handle, lambda: not consumer.at_end)
consumer.close()
