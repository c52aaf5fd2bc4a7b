/* Runs the recipe for node-postgres. The connection comes from the PG* variables. */
'use strict';

const assert = require('node:assert');
const path = require('node:path');
const { Client } = require('pg');
const { place } = require(path.resolve('pg/shop.js'));

async function main() {
	const client = new Client();

	await client.connect();
	await place(client, 'tea');
	await assert.rejects(place(client, 'tea'), /orders_item/);
	await assert.rejects(place(client, 'x'.repeat(2000)), /rule for topic/);
	await client.end();
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
