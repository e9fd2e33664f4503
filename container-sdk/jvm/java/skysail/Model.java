package skysail;

/**
 * A model: a schema, a way to load it and a function of a batch.
 *
 * <p>Everything is called on one thread, the one that calls {@link Skysail#run}: {@link #load} once, {@link
 * #warmUp} once, then {@link #predict} for each batch, and {@link #unload} once. An exception fails what it
 * was thrown in; its stack trace is written to the container's log.
 */
public interface Model {
    /**
     * The model's tensors, and the most rows of a batch. Asked once.
     *
     * @return the only place where they stand
     */
    Schema schema();

    /**
     * Loads the model.
     *
     * @param ctx finds the model's files
     * @throws Exception whatever keeps it from loading: the container exits with status 1, or 2 if it is an
     *     {@link UnfitException}
     */
    default void load(Ctx ctx) throws Exception {}

    /**
     * Prepares the model before it is offered to the front end.
     *
     * @param ctx as for {@link #load}
     * @return whether it did; if not, as here, one row and the most rows, of zeros and empty texts, go through
     *     {@link #predict}
     * @throws Exception whatever keeps it from serving: the container exits with status 1
     */
    default boolean warmUp(Ctx ctx) throws Exception {
        return false;
    }

    /**
     * Answers a batch.
     *
     * @param in the rows, which fit the schema, 1 to {@link Schema#maxBatch} of them
     * @param out where the answers go
     * @param ctx the model's names and files, and the time that is left
     * @throws Exception whatever keeps all of the batch from being answered; its message reaches whoever asked
     */
    void predict(Batch in, Outputs out, Ctx ctx) throws Exception;

    /**
     * Frees what {@link #load} made and the garbage collector does not.
     *
     * @throws Exception which is logged
     */
    default void unload() throws Exception {}
}
