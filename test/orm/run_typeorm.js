/*
 * Runs the recipe for TypeORM, and what else it does with rows of a table;
 * test/t/158_orms.pl knows what must come of it. The connection comes from the
 * PG* variables.
 */
'use strict';

const assert = require('node:assert');
const path = require('node:path');
const { DataSource } = require('typeorm');
const { Order, OutboxEvent, place } = require(path.resolve('typeorm/shop.js'));

const event = (type, key, payload = { n: 1 }, more = {}) =>
	({ aggregatetype: 'order', aggregateid: key, type, payload, ...more });

async function habits(db) {
	const text = { text: 'grüße "€" \\ \n \'' };
	const id = '10000000-0000-4000-8000-000000000001';

	await db.transaction(async (tx) => {
		// with an id it looks for the row first
		await tx.save(OutboxEvent, event('Created', 'k1', text, { id }));
		const found = await tx.findOneByOrFail(OutboxEvent, { id });

		assert.deepStrictEqual([found.aggregateid, found.payload], ['k1', text]);
		await tx.save(OutboxEvent, found);
		assert.strictEqual(await tx.count(OutboxEvent), 1);
	});
	assert.strictEqual(await db.manager.count(OutboxEvent), 0);

	const saved = await db.manager.save(OutboxEvent, [1, 2, 3].map((n) => event('Bulk', `b${n}`, { n })));

	assert.strictEqual(new Set(saved.map((row) => row.id)).size, 3);
	await db.createQueryBuilder().insert().into(OutboxEvent).values(event('Bulk', 'b4', { n: 4 }))
		.orIgnore().execute();

	await db.transaction(async (tx) => {
		const removed = await tx.save(OutboxEvent, event('Removed', 'r1'));

		assert.strictEqual((await tx.delete(OutboxEvent, { id: removed.id })).affected, 1);
		assert.strictEqual(await tx.countBy(OutboxEvent, { id: removed.id }), 0);
		await tx.remove(OutboxEvent, await tx.save(OutboxEvent, event('Removed', 'r2')));
	});

	await db.transaction(async (tx) => {
		await tx.insert(OutboxEvent, event('Kept', 's1'));
		await assert.rejects(tx.transaction(async (inner) => {
			await inner.insert(OutboxEvent, event('Lost', 's2'));
			throw new Error('not this one');
		}));
		await assert.rejects(tx.transaction((inner) =>
			inner.update(OutboxEvent, { type: 'Kept' }, { type: 'Changed' })));
		await tx.insert(OutboxEvent, event('Tombstone', 't1', null));
	});

	await assert.rejects(db.transaction(async (tx) => {
		await tx.insert(OutboxEvent, event('Lost', 'l1'));
		throw new Error('none of this');
	}));
}

async function main() {
	const { PGHOST: host, PGPORT: port, PGUSER: username, PGDATABASE: database } = process.env;
	const db = await new DataSource({
		type: 'postgres',
		host,
		port: Number(port),
		username,
		database,
		entities: [Order, OutboxEvent],
	}).initialize();

	await place(db, 'tea');
	await assert.rejects(place(db, 'tea'), /orders_item/);
	await assert.rejects(place(db, 'x'.repeat(2000)), /rule for topic/);
	await habits(db);
	await db.destroy();
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
