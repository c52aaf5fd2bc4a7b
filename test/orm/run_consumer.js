/*
 * run_consumer.js RECIPE SERVERS TOPIC GROUP [KEY]: runs the recipe for KafkaJS to
 * the end of the topic, which has one partition, and notes each event in the table
 * handled. At the event with that key the process ends, before its commit.
 */
'use strict';

const { Kafka, logLevel } = require('kafkajs');
const { Pool } = require('pg');

const [recipe, servers, topic, group, fatal] = process.argv.slice(2);
const { consume } = require(recipe);

async function handle(client, message) {
	const key = String(message.key);

	await client.query('INSERT INTO handled (key) VALUES ($1)', [key]);
	if (key === fatal)
		process.exit(3);
}

async function main() {
	const kafka = new Kafka({ brokers: servers.split(','), logLevel: logLevel.ERROR });
	const consumer = kafka.consumer({ groupId: group, sessionTimeout: 6000, rebalanceTimeout: 6000 });
	const pool = new Pool();

	await consumer.connect();
	await consumer.subscribe({ topics: [topic], fromBeginning: true });
	consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload }) => {
		if (Number(payload.lastOffset) + 1 >= Number(payload.highWatermark))
			consumer.disconnect().then(() => pool.end());
	});
	await consume(consumer, pool, handle);
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
