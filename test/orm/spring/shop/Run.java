package shop;

import jakarta.persistence.Entity;
import jakarta.persistence.EntityManager;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.Id;
import jakarta.persistence.Table;
import java.sql.Savepoint;
import java.util.List;
import java.util.UUID;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.hibernate.Session;
import org.springframework.boot.CommandLineRunner;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.WebApplicationType;
import org.springframework.dao.DataAccessException;
import org.springframework.transaction.support.TransactionTemplate;

/*
 * Runs the recipe for Spring and Hibernate, and what else they do with rows of
 * a table; test/t/158_orms.pl knows what must come of it. The connection comes
 * from the PG* variables.
 */
@SpringBootApplication
public class Run implements CommandLineRunner {
	/* The view once more, with ids that Hibernate makes. */
	@Entity(name = "Generated")
	@Table(name = "outboxevent")
	static class Generated {
		@Id
		@GeneratedValue
		UUID id;
		String aggregatetype = "order";
		String aggregateid;
		String type;
		String payload = "{\"n\": 1}";

		Generated() {
		}

		Generated(String type, String key) {
			this.type = type;
			aggregateid = key;
		}
	}

	private final Orders orders;
	private final Events events;
	private final EntityManager entities;
	private final TransactionTemplate transaction;

	Run(Orders orders, Events events, EntityManager entities, TransactionTemplate transaction) {
		this.orders = orders;
		this.events = events;
		this.entities = entities;
		this.transaction = transaction;
	}

	static void check(boolean condition, String what) {
		if (!condition)
			throw new AssertionError(what);
	}

	interface Action {
		void run() throws Exception;
	}

	static void fails(Class<? extends Exception> error, Action action) {
		try {
			action.run();
		} catch (Exception thrown) {
			check(error.isInstance(thrown), "not " + error + " but " + thrown);
			return;
		}
		throw new AssertionError("no " + error);
	}

	static OutboxEvent event(String type, String key, String payload) {
		return new OutboxEvent("order", key, type, payload);
	}

	private void within(Consumer<EntityManager> action) {
		transaction.executeWithoutResult(status -> action.accept(entities));
	}

	private long count() {
		return entities.createQuery("SELECT count(*) FROM OutboxEvent", Long.class).getSingleResult();
	}

	private void created() {
		String text = "{\"text\": \"grüße \\\"€\\\" \\\\ \\n '\"}";

		UUID id = UUID.fromString("10000000-0000-4000-8000-000000000001");

		within(tx -> {
			tx.createNativeQuery("INSERT INTO outboxevent (id, aggregatetype, aggregateid, type, payload)"
					+ " VALUES (?1, 'order', 'k1', 'Created', ?2)")
					.setParameter(1, id).setParameter(2, text).executeUpdate();
			Generated found = tx.find(Generated.class, id);
			check(found.aggregateid.equals("k1") && found.payload.equals(text), "not found as it was made");
			check(tx.createQuery("UPDATE Generated SET type = 'Created'").executeUpdate() == 1,
					"not saved as it was");
			check(count() == 1, "there are others");
		});
		check(events.count() == 0, "an event is shown after its transaction");
	}

	/* in batches, whose row counts Hibernate checks; the last by a repository, which looks for it first */
	private void bulk() {
		within(tx -> Stream.of(1, 2, 3).forEach(n -> tx.persist(event("Bulk", "b" + n, "{\"n\": " + n + "}"))));
		events.saveAll(List.of(event("Bulk", "b4", "{\"n\": 4}")));
	}

	private void removed() {
		within(tx -> {
			OutboxEvent removed = event("Removed", "r1", "{\"n\": 1}");
			Generated generated = new Generated("Removed", "r2");

			tx.persist(removed);
			tx.flush();
			tx.remove(removed);
			tx.flush();
			check(count() == 0, "it is still there");
			tx.persist(generated);
			tx.flush();
			tx.refresh(generated);
			tx.remove(generated);
		});
	}

	private void rolledBack() {
		fails(DataAccessException.class, () -> transaction.executeWithoutResult(status -> {
			entities.persist(new Generated("Lost", "s2"));
			entities.flush();
			entities.find(Generated.class, entities.createQuery("SELECT id FROM Generated", UUID.class)
					.getSingleResult()).type = "Changed";
		}));
		within(tx -> {
			tx.persist(event("Kept", "s1", "{\"n\": 1}"));
			tx.flush();
			tx.unwrap(Session.class).doWork(connection -> {
				Savepoint savepoint = connection.setSavepoint();

				tx.persist(event("Lost", "s2", "{\"n\": 1}"));
				tx.flush();
				connection.rollback(savepoint);
			});
			tx.persist(event("Tombstone", "t1", null));
		});
		transaction.executeWithoutResult(status -> {
			entities.persist(event("Lost", "l1", "{\"n\": 1}"));
			entities.flush();
			status.setRollbackOnly();
		});
	}

	@Override
	public void run(String... arguments) throws Exception {
		orders.place("tea");
		fails(DataAccessException.class, () -> orders.place("tea"));
		fails(DataAccessException.class, () -> orders.place("x".repeat(2000)));
		created();
		bulk();
		removed();
		rolledBack();
	}

	public static void main(String[] arguments) {
		String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
				+ System.getenv("PGDATABASE");

		new SpringApplicationBuilder(Run.class).web(WebApplicationType.NONE).properties(
				"spring.main.banner-mode=off", "logging.level.root=ERROR",
				"spring.datasource.url=" + url, "spring.datasource.username=" + System.getenv("PGUSER"),
				"spring.datasource.hikari.maximum-pool-size=1",
				"spring.jpa.hibernate.ddl-auto=none",
				"spring.jpa.properties.hibernate.jdbc.batch_size=10",
				"spring.jpa.properties.hibernate.order_inserts=true").run(arguments).close();
	}
}
