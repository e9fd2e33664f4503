package skysail;

import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HashSet;
import java.util.Set;

/**
 * Where large inputs are shown without a copy: addresses that show one batch, and zeros ever after.
 *
 * <p>A stage is one large buffer, of which each input is a slice. The slices, and all that a model makes of
 * them, keep the large buffer alive; once it is full and the garbage collector has found that nobody can
 * reach it, its addresses are freed. Until then there is another one. Where there are too many, because
 * nothing makes the collector run, inputs are copied, which does.
 */
final class Stages {
    /** Less is copied: that is faster than two system calls and a page fault. */
    private static final int SHOWN_BYTES_MIN = 16 << 10;

    private static final int STAGE_BYTES = Integer.getInteger("skysail.stage.bytes", 256 << 20);
    private static final int RETIRED_MAX = 64;
    /** As large as pages get: a slice begins and ends in the middle of one. */
    private static final int SLACK_BYTES = 128 << 10;

    private final ReferenceQueue<ByteBuffer> unreachable = new ReferenceQueue<>();
    private final Set<Retired> retired = new HashSet<>();
    private ByteBuffer buffer;
    private long stage;
    private int used;
    private boolean isShown;

    /** A stage that is full. */
    private static final class Retired extends PhantomReference<ByteBuffer> {
        private final long stage;

        Retired(ByteBuffer buffer, ReferenceQueue<ByteBuffer> queue, long stage) {
            super(buffer, queue);
            this.stage = stage;
        }
    }

    /** An input, to read until the batch is over; null if it has to be copied. */
    ByteBuffer show(long batch, int index, long bytes) {
        if (bytes < SHOWN_BYTES_MIN || bytes > STAGE_BYTES - SLACK_BYTES) {
            return null;
        }
        if (buffer != null && bytes > STAGE_BYTES - SLACK_BYTES - used) {
            if (isShown) {
                return null; // What else this batch has is still read there.
            }
            retire();
        }
        if (buffer == null && !open()) {
            return null;
        }
        int offset = (int) Native.stageShow(stage, batch, index);
        if (offset < 0) {
            return null;
        }
        isShown = true;
        used = offset + (int) bytes;
        return buffer.slice(offset, (int) bytes).asReadOnlyBuffer().order(ByteOrder.nativeOrder());
    }

    /** The batch is over. */
    void clear() {
        if (isShown) {
            isShown = false;
            Native.stageClear(stage);
        }
    }

    private boolean open() {
        for (Object found; (found = unreachable.poll()) != null; ) {
            retired.remove(found);
            Native.stageFree(((Retired) found).stage);
        }
        if (retired.size() >= RETIRED_MAX) {
            return false;
        }
        stage = Native.stage(STAGE_BYTES);
        buffer = stage == 0 ? null : Native.stageBuffer(stage, STAGE_BYTES);
        used = 0;
        return buffer != null;
    }

    private void retire() {
        retired.add(new Retired(buffer, unreachable, stage));
        buffer = null;
    }
}
