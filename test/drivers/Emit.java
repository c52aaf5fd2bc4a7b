/*
 * Calls outbox_emit() through JDBC, with the parameters an application passes.
 *
 * The topic names the case; test/t/090_drivers.pl reads the events back from
 * outbox.event and knows what each case must have stored. The connection
 * comes from the PG* variables.
 *
 * What the driver sends: setString as varchar, setInt, setLong and
 * setBigDecimal as integer, bigint and numeric, a UUID as uuid, setBytes as
 * bytea, a null with setObject without a type. JSON is a PGobject of type
 * jsonb. A String as headers needs ?::jsonb, as for every jsonb parameter.
 */
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Types;
import java.time.OffsetDateTime;
import java.util.Properties;
import java.util.UUID;
import org.postgresql.util.PGobject;

public class Emit {
	static final String EMIT = "SELECT outbox_emit(?, ?, ?)";
	static final String EMIT_HEADERS = "SELECT outbox_emit(?, ?, ?, ?)";
	static final String EMIT_CAST = "SELECT outbox_emit(?, ?, ?, ?::jsonb)";
	static final String EMIT_NAMED =
			"SELECT outbox_emit(topic => ?, key => ?, payload => ?, headers => ?)";
	static final String EMIT_TIMES =
			"SELECT outbox_emit(?, ?, ?, deliver_after => ?, expires_at => ?)";

	static final UUID ID = UUID.fromString("01890a5d-ac96-774b-bcce-b302099a8057");
	static final String OBJECT = "{\"a\": 1, \"b\": [true, null]}";
	static final String HEADERS = "{\"source\": \"driver\"}";

	static Connection connect(String stringtype) throws SQLException {
		Properties properties = new Properties();
		properties.setProperty("user", System.getenv("PGUSER"));
		properties.setProperty("stringtype", stringtype);
		return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":"
				+ System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"), properties);
	}

	static PGobject json(String type, String value) throws SQLException {
		PGobject object = new PGobject();
		object.setType(type);
		object.setValue(value);
		return object;
	}

	static void emit(Connection connection, String sql, Object... values) throws SQLException {
		try (PreparedStatement statement = connection.prepareStatement(sql)) {
			for (int i = 0; i < values.length; i++)
				statement.setObject(i + 1, values[i]);
			statement.execute();
		}
	}

	static void values(Connection connection) throws SQLException {
		emit(connection, EMIT, "string", "k", "grüße €");
		emit(connection, EMIT, "empty", "", "");
		emit(connection, EMIT, "int_small", 7, "x");
		emit(connection, EMIT, "int_big", 9007199254740993L, "x");
		emit(connection, EMIT, "numeric", new BigDecimal("12.5"), "x");
		emit(connection, EMIT, "uuid", ID, "x");
		emit(connection, EMIT, "json", 7, json("jsonb", OBJECT));
		emit(connection, EMIT, "json_text", 7, json("json", OBJECT));
		emit(connection, EMIT, "bytes", 7, new byte[] {0, (byte) 0xff, 10});
		emit(connection, EMIT, "null_payload", 7, null);
		emit(connection, EMIT, "null_key", null, "x");
		emit(connection, EMIT, "null_both", null, null);
		emit(connection, EMIT_HEADERS, "headers", 7, "x", json("jsonb", HEADERS));
		emit(connection, EMIT_HEADERS, "headers_null", 7, null, null);
		emit(connection, EMIT_NAMED, "named", 7, json("jsonb", OBJECT), json("jsonb", HEADERS));
		emit(connection, EMIT_TIMES, "times", 7, "x", json("interval", "0 s"), OffsetDateTime.now().plusHours(23));
	}

	/* nulls with a type, as object mappers set them, and headers as a string */
	static void typed(Connection connection) throws SQLException {
		try (PreparedStatement statement = connection.prepareStatement(EMIT_CAST)) {
			int[][] types = {{Types.VARCHAR, Types.VARCHAR}, {Types.BIGINT, Types.BINARY}, {Types.NULL, Types.OTHER}};
			for (int[] type : types) {
				statement.setString(1, "null_typed");
				statement.setNull(2, type[0]);
				statement.setNull(3, type[1]);
				statement.setString(4, HEADERS);
				statement.execute();
			}
		}
	}

	/* The fifth run of a statement uses a server-side prepared one, with binary parameters. */
	static void prepared(Connection connection) throws SQLException {
		try (PreparedStatement statement = connection.prepareStatement(EMIT)) {
			for (int i = 0; i < 10; i++) {
				statement.setString(1, "prepared");
				statement.setInt(2, i);
				statement.setString(3, "value " + i);
				statement.execute();
			}
		}
	}

	static void transactions(Connection connection) throws SQLException {
		connection.setAutoCommit(false);
		emit(connection, EMIT, "transaction", 1, json("jsonb", OBJECT));
		Savepoint savepoint = connection.setSavepoint();
		emit(connection, EMIT, "transaction", 2, "savepoint");
		connection.rollback(savepoint);
		emit(connection, EMIT, "transaction", 3, json("jsonb", OBJECT));
		connection.commit();
		emit(connection, EMIT, "transaction", 4, "rolled back");
		connection.rollback();
		try (PreparedStatement statement = connection.prepareStatement(EMIT)) {
			for (int i = 0; i < 3; i++) {
				statement.setString(1, "batch");
				statement.setInt(2, i);
				statement.setString(3, "x");
				statement.addBatch();
			}
			statement.executeBatch();
		}
		connection.commit();
	}

	public static void main(String[] args) throws SQLException {
		try (Connection connection = connect("varchar")) {
			values(connection);
			typed(connection);
			prepared(connection);
			transactions(connection);
		}
		/* Hibernate and Spring set-ups often send strings without a type. */
		try (Connection connection = connect("unspecified")) {
			emit(connection, EMIT_HEADERS, "unspecified", "k", OBJECT, HEADERS);
		}
	}
}
