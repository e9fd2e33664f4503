package skysail;

/** The address of a native object, which is there during one call of predict, on its thread. */
final class Handle {
    private final Thread thread = Thread.currentThread();
    private final long address;
    private boolean isOver;

    Handle(long address) {
        this.address = address;
    }

    long get() {
        if (Thread.currentThread() != thread) {
            throw new IllegalStateException(
                    "a batch and its outputs are used on the thread only that predict was called on; "
                            + "buffers that they gave may be handed on");
        }
        if (isOver) {
            throw new IllegalStateException(
                    "the batch is over: it and its outputs may be used in predict only");
        }
        return address;
    }

    void end() {
        isOver = true;
    }
}
