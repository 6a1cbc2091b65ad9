import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;
import org.apache.kafka.streams.state.SessionStore;

/**
 * Windows by Kafka Streams, case by case, until its input ends.
 *
 * <p>A case is a line `kind size advance grace` (of a session the size is its gap; times in ms), then a line `key at value` for each event
 * as it comes, then an empty line. The answer is a line `key start end value value ...` for each window, as it was when it last changed,
 * then an empty line.
 */
class Oracle {
    public static void main(String[] arguments) throws IOException {
        var settings = new Properties();
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG, BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
        var in = new BufferedReader(new InputStreamReader(System.in));
        for (String asked; (asked = in.readLine()) != null; ) {
            var found = new TreeMap<String, String>();
            var builder = new StreamsBuilder();
            windows(builder.<String, String>stream("events").groupByKey(), asked.split(" "))
                    .toStream()
                    .foreach((window, held) -> {
                        var name = window.key() + " " + window.window().start() + " " + window.window().end();
                        if (held == null) found.remove(name); // a session that has become part of another one
                        else found.put(name, held);
                    });
            try (var driver = new TopologyTestDriver(builder.build(), settings)) {
                var events = driver.createInputTopic("events", new StringSerializer(), new StringSerializer());
                for (String line; !(line = in.readLine()).isEmpty(); ) {
                    var event = line.split(" ");
                    events.pipeInput(event[0], event[2], Long.parseLong(event[1]));
                }
            }
            found.forEach((name, held) -> System.out.println(name + held));
            System.out.println();
        }
    }

    static KTable<Windowed<String>, String> windows(KGroupedStream<String, String> events, String[] asked) {
        Duration size = ms(asked[1]), advance = ms(asked[2]), grace = ms(asked[3]);
        Aggregator<String, String, String> add = (key, value, held) -> held + " " + value;
        return switch (asked[0]) {
            case "tumbling" -> events.windowedBy(TimeWindows.ofSizeAndGrace(size, grace)).aggregate(() -> "", add);
            case "hopping" -> events.windowedBy(TimeWindows.ofSizeAndGrace(size, grace).advanceBy(advance)).aggregate(() -> "", add);
            case "sliding" -> events.windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(size, grace)).aggregate(() -> "", add);
            case "session" -> events.windowedBy(SessionWindows.ofInactivityGapAndGrace(size, grace))
                    .aggregate(() -> "", add, (key, one, other) -> one + other, kept(size.plus(grace).plusMillis(1)));
            default -> throw new IllegalArgumentException(asked[0]);
        };
    }

    /**
     * One ms longer than by default: at the last moment at which a session may be joined, its store would have forgotten it, and nobody
     * would be told that it has become part of another one.
     */
    static Materialized<String, String, SessionStore<Bytes, byte[]>> kept(Duration retention) {
        return Materialized.<String, String, SessionStore<Bytes, byte[]>>with(Serdes.String(), Serdes.String()).withRetention(retention);
    }

    static Duration ms(String number) {
        return Duration.ofMillis(Long.parseLong(number));
    }
}
