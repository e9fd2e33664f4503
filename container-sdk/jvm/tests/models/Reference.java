import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The logits of Digits for a file of images, in doubles and without the SDK: a line a row. */
public class Reference {
    public static void main(String[] arguments) throws Exception {
        List<double[]> weights = read(Path.of(arguments[0]), " ");
        for (double[] image : read(Path.of(arguments[1]), ",")) {
            StringBuilder line = new StringBuilder();
            for (double[] row : weights) {
                double sum = row[0];
                for (int pixel = 0; pixel < 64; pixel++) {
                    sum += row[pixel + 1] * image[pixel] / 16;
                }
                line.append(sum).append(' ');
            }
            System.out.println(line);
        }
    }

    private static List<double[]> read(Path file, String between) throws Exception {
        List<double[]> rows = new ArrayList<>();
        for (String line : Files.readAllLines(file)) {
            String[] words = line.split(between);
            double[] row = new double[words.length];
            for (int at = 0; at < row.length; at++) {
                row[at] = Double.parseDouble(words[at]);
            }
            rows.add(row);
        }
        return rows;
    }
}
