"""read_schemas.py SERVERS TOPIC COUNT ID GUID: reads records as Confluent's
deserialisers do, for Avro and, if the key says so, for JSON, and writes each
value as a line of JSON.

The registry that they ask runs in here, and knows one schema of each by its
number, ID and ID + 1, or by GUID and the next one."""

import json
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from records import records

bootstrap, topic, count, first_id, first_guid = sys.argv[1:]

FIELDS = [{"name": "id", "type": "long"}, {"name": "item", "type": "string"}]
SCHEMAS = [
    ("AVRO", {"type": "record", "name": "Order", "fields": FIELDS}),
    ("JSON", {"type": "object", "required": ["id", "item"]}),
]
known = {}
for i, (kind, schema) in enumerate(SCHEMAS):
    number = int(first_id) + i
    guid = str(uuid.UUID(int=uuid.UUID(first_guid).int + i))
    answer = {"id": number, "guid": guid, "schemaType": kind,
              "schema": json.dumps(schema)}
    known[f"/schemas/ids/{number}"] = known[f"/schemas/guids/{guid}"] = answer


class Registry(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = known.get(self.path.split("?")[0])
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(
            answer or {"error_code": 40403, "message": "no such schema"}).encode())

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 0), Registry)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = SchemaRegistryClient({"url": f"http://127.0.0.1:{server.server_port}"})
deserializers = {
    b"avro": AvroDeserializer(client),
    b"json": JSONDeserializer(None, schema_registry_client=client),
}

for message in records(bootstrap, topic, int(count)):
    context = SerializationContext(topic, MessageField.VALUE, message.headers())
    print(json.dumps(deserializers[message.key()](message.value(), context)))
