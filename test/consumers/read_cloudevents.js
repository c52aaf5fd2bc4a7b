// read_cloudevents.js SERVERS TOPIC COUNT: reads records as the CloudEvents SDK
// does, and writes each event as a line of JSON.

const { Kafka: Binding } = require('cloudevents');
const { Kafka, logLevel } = require('kafkajs');

const [servers, topic, count] = process.argv.slice(2);
const consumer = new Kafka({ brokers: servers.split(','), logLevel: logLevel.ERROR })
	.consumer({ groupId: 'outbox-test-js' });
let seen = 0;

// kafkajs gives bytes; the SDK expects text
function toEvent({ key, value, headers }) {
	const text = Object.fromEntries(
		Object.entries(headers).map(([name, bytes]) => [name, bytes.toString()]));

	return Binding.toEvent({ key: key.toString(), value, headers: text });
}

async function main() {
	await consumer.connect();
	await consumer.subscribe({ topic, fromBeginning: true });
	await new Promise((resolve, reject) => {
		setTimeout(() => reject(new Error(`${seen} records, not ${count}`)), 120000).unref();
		consumer.run({
			eachMessage: async ({ message }) => {
				if (seen >= count)
					return;
				try {
					const event = toEvent(message);

					// it has looked at the attributes, and throws if they are no event's
					event.validate();
					console.log(JSON.stringify(event));
				} catch (error) {
					reject(error);
				}
				if (++seen >= count)
					resolve();
			},
		}).catch(reject);
	});
	await consumer.disconnect();
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
