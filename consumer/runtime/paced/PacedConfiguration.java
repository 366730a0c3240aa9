package software.amazon.kinesis.multilang.config;

import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;

/** Makes a scheduler as the daemon's configuration does, and sets its interval before. */
public final class PacedConfiguration {
    private PacedConfiguration() {}

    /** Returns a scheduler that looks after its shards every so many milliseconds. */
    public static Scheduler scheduler(
            final MultiLangDaemonConfiguration configuration,
            final ShardRecordProcessorFactory factory,
            final long intervalMillis) {
        final MultiLangDaemonConfiguration.ResolvedConfiguration resolved =
                configuration.resolvedConfiguration(factory);
        resolved.getCoordinatorConfig().shardConsumerDispatchPollIntervalMillis(intervalMillis);
        return resolved.build();
    }
}
