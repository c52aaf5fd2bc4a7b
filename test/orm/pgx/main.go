// Runs the recipe for Go, and what else pgx does with rows of a table;
// test/t/158_orms.pl knows what must come of it. The connection comes from the
// PG* variables.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"run/shop"
)

const insert = "INSERT INTO outboxevent (id, aggregatetype, aggregateid, type, payload) VALUES ($1, 'order', $2, $3, $4)"

var (
	ctx  = context.Background()
	none = errors.New("none of this")
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func must(condition bool, what string) {
	if !condition {
		log.Fatal(what)
	}
}

// one reads a single value
func one[T any](tx pgx.Tx, sql string, arguments ...any) (value T) {
	check(tx.QueryRow(ctx, sql, arguments...).Scan(&value))
	return value
}

func emit(tx pgx.Tx, kind, key string, payload any) string {
	return one[string](tx, "INSERT INTO outboxevent (aggregatetype, aggregateid, type, payload)"+
		" VALUES ('order', $1, $2, $3) RETURNING id::text", key, kind, payload)
}

func created(tx pgx.Tx) error {
	const id = "10000000-0000-4000-8000-000000000001"
	text, err := json.Marshal(map[string]string{"text": "grüße \"€\" \\ \n '"})

	check(err)
	_, err = tx.Exec(ctx, insert, id, "k1", "Created", string(text))
	check(err)
	must(one[string](tx, "SELECT payload FROM outboxevent WHERE id = $1", id) == string(text),
		"not found as it was made")
	tag, err := tx.Exec(ctx, "UPDATE outboxevent SET type = 'Created' WHERE id = $1", id)
	check(err)
	must(tag.RowsAffected() == 1, "not saved as it was")
	must(one[int](tx, "SELECT count(*) FROM outboxevent") == 1, "there are others")
	return nil
}

func bulk(db *pgxpool.Pool) {
	columns := []string{"aggregatetype", "aggregateid", "type", "payload"}
	rows := [][]any{
		{"order", "b1", "Bulk", `{"n": 1}`},
		{"order", "b2", "Bulk", `{"n": 2}`},
		{"order", "b3", "Bulk", `{"n": 3}`},
	}
	copied, err := db.CopyFrom(ctx, pgx.Identifier{"outboxevent"}, columns, pgx.CopyFromRows(rows))
	check(err)
	must(copied == 3, "not three")

	var batch pgx.Batch
	batch.Queue("INSERT INTO outboxevent (aggregatetype, aggregateid, type, payload)"+
		" VALUES ('order', $1, $2, $3) ON CONFLICT DO NOTHING", "b4", "Bulk", `{"n": 4}`)
	check(db.SendBatch(ctx, &batch).Close())
}

func removed(tx pgx.Tx) error {
	for _, key := range []string{"r1", "r2"} {
		id := emit(tx, "Removed", key, `{"n": 1}`)
		tag, err := tx.Exec(ctx, "DELETE FROM outboxevent WHERE id = $1", id)
		check(err)
		must(tag.RowsAffected() == 1, "not one is removed")
		must(one[int](tx, "SELECT count(*) FROM outboxevent") == 0, "it is still there")
	}
	return nil
}

func savepoints(tx pgx.Tx) error {
	emit(tx, "Kept", "s1", `{"n": 1}`)
	err := pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
		emit(inner, "Lost", "s2", `{"n": 1}`)
		return none
	})
	must(err == none, "the savepoint is still there")
	err = pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
		_, err := inner.Exec(ctx, "UPDATE outboxevent SET type = 'Changed'")
		return err
	})
	must(err != nil, "an event has been changed")
	emit(tx, "Tombstone", "t1", nil)
	return nil
}

func lost(tx pgx.Tx) error {
	emit(tx, "Lost", "l1", `{"n": 1}`)
	return none
}

func main() {
	db, err := pgxpool.New(ctx, "")
	check(err)
	defer db.Close()

	_, err = shop.Place(ctx, db, "tea")
	check(err)
	_, err = shop.Place(ctx, db, "tea")
	must(err != nil, "a second order of tea has been committed")
	_, err = shop.Place(ctx, db, strings.Repeat("x", 2000))
	must(err != nil, "an event is too large")

	check(pgx.BeginFunc(ctx, db, created))
	bulk(db)
	check(pgx.BeginFunc(ctx, db, removed))
	check(pgx.BeginFunc(ctx, db, savepoints))
	must(pgx.BeginFunc(ctx, db, lost) == none, "not rolled back")
}
