package mail;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/*
 * Run SERVERS TOPIC GROUP [KEY]: runs the recipe for Java up to the end of the
 * topic, which has one partition, and notes each event in the table handled. At
 * the event with that key the process ends, before its commit.
 */
public class Run {
	public static void main(String[] args) throws Exception {
		TopicPartition partition = new TopicPartition(args[1], 0);
		Map<String, Object> settings = Map.of(
			"bootstrap.servers", args[0],
			"group.id", args[2],
			"auto.offset.reset", "earliest",
			"enable.auto.commit", false);
		String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
			+ System.getenv("PGDATABASE") + "?user=" + System.getenv("PGUSER");

		try (KafkaConsumer<String, byte[]> consumer =
				new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer());
				Connection connection = DriverManager.getConnection(url)) {
			// as a member of a group it would wait until the one that has died is given up
			consumer.assign(List.of(partition));
			long end = consumer.endOffsets(List.of(partition)).get(partition);
			Inbox.consume(consumer, connection, (c, message) -> {
				try (PreparedStatement insert = c.prepareStatement("INSERT INTO handled (key) VALUES (?)")) {
					insert.setString(1, message.key());
					insert.executeUpdate();
				}
				if (args.length > 3 && message.key().equals(args[3]))
					Runtime.getRuntime().halt(3);
			}, () -> consumer.position(partition) < end);
		}
	}
}
