/** Not a model. */
public class NoModel {}
