package software.amazon.kinesis.multilang;

import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Properties;
import software.amazon.kinesis.multilang.config.PacedConfiguration;

/**
 * The MultiLangDaemon, with one more property: shardConsumerDispatchPollIntervalMillis, which the Kinesis Client Library
 * lets programs in Java set (CoordinatorConfig), and its daemon does not.
 *
 * It lies in the daemon's package for what is open to that package alone.
 */
public final class PacedMultiLangDaemon {
    private static final String INTERVAL = "shardConsumerDispatchPollIntervalMillis";

    private PacedMultiLangDaemon() {}

    /** Takes --properties-file FILE --log-configuration FILE; ends with status 1 if it cannot run. */
    public static void main(final String[] arguments) {
        int status = 1;
        final MultiLangDaemon daemon = new MultiLangDaemon();
        try {
            daemon.configureLogging(arguments[3]);
            final MultiLangDaemonConfig config = daemon.buildMultiLangDaemonConfig(arguments[1]);
            final MultiLangDaemon.MultiLangRunner runner = new MultiLangDaemon.MultiLangRunner(
                    PacedConfiguration.scheduler(
                            config.getMultiLangDaemonConfiguration(),
                            config.getRecordProcessorFactory(),
                            intervalMillis(arguments[1])));
            daemon.setupShutdownHook(Runtime.getRuntime(), runner, config);
            status = daemon.submitRunnerAndWait(config, runner);
        } catch (final Throwable error) {
            error.printStackTrace(System.err);
        }
        daemon.exit(status);
    }

    private static long intervalMillis(final String file) throws IOException {
        final Properties properties = new Properties();
        try (InputStream stream = new FileInputStream(file)) {
            properties.load(stream);
        }
        return Long.parseLong(properties.getProperty(INTERVAL).trim());
    }
}
