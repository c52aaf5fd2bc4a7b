"""read_cloudevents.py SERVERS TOPIC COUNT: reads records as the CloudEvents
SDK does, and writes each event as a line of JSON."""

import json
import sys

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from records import records

bootstrap, topic, count = sys.argv[1:]
for message in records(bootstrap, topic, int(count)):
    event = from_kafka_event(KafkaMessage(
        headers=dict(message.headers()), key=message.key(),
        value=message.value()))
    attributes = event.get_attributes()
    attributes["time"] = attributes["time"].isoformat()
    print(json.dumps({**attributes, "data": event.get_data()}))
