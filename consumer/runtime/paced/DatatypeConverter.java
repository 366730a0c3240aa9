package javax.xml.bind;

/**
 * Stands in for a class that Java has no more since version 11: the Kinesis Client Library still logs by it what it
 * leaves out of a broken packet of the producer library, and ended the daemon. Data does not belong into a log.
 */
public final class DatatypeConverter {
    private DatatypeConverter() {}

    /** Returns how long the data is. */
    public static String printBase64Binary(final byte[] data) {
        return data.length + " bytes";
    }
}
