//! What models may take and give, and what they may do wrong.

use skysail_rpc::message::{BatchId, Part, PartKind, Predict};
use skysail_rpc::{DataType, Element, PayloadBuf};

use super::rows::{expect, fixed, list, numbers, rows, strings, texts};
use super::{ALL, Line, steps};
use crate::models::ROWS_MAX;
use crate::scene::{LONG, Result, Row, Scene, quiet};

/// Elements of a row that no block of shared memory holds: 3.2 MB.
const LARGE: usize = 400_000;
/// What `suite-wrong` does for each number.
const AN_ERROR: i64 = 1;
const A_PANIC: i64 = 2;
const A_ROW_MORE: i64 = 3;
const A_ROW_LESS: i64 = 4;
const A_WRONG_SHAPE: i64 = 5;
const A_WRONG_TYPE: i64 = 6;
const A_MISSING_OUTPUT: i64 = 7;
/// What an error of `suite-wrong` says.
const SAID: &str = "as asked";

#[rustfmt::skip]
pub(super) fn table() -> [Line; 16] {
    [
        ("several-inputs", "3.1", "several named inputs and outputs of different types", ALL, steps!(several_inputs)),
        ("not-a-number", "3.2", "NaN, infinities and -0 go in and come out", ALL, steps!(not_a_number)),
        ("empty-texts", "3.3", "empty texts, rows of no texts, no byte at all", ALL, steps!(empty_texts)),
        ("variable-rows", "3.3", "rows of 0 to 1,000 elements, and a batch of none", ALL, steps!(variable_rows)),
        ("large-row", "8", "a row that fits no shared block goes by the connection", ALL, steps!(large_row)),
        ("most-rows", "5.2", "a batch of as many rows as the hello says", ALL, steps!(most_rows)),
        ("not-utf8", "3.6", "a text that is no UTF-8 ends the session, which is opened anew", ALL, steps!(not_utf8)),
        ("offsets-go-back", "3.3", "offsets that go back end the session, which is opened anew", ALL, steps!(offsets_go_back)),
        ("two-in-flight", "5.3", "two batches in hand, each answered once", ALL, steps!(two_in_flight)),
        ("exception", "5.9", "an error fails its batch with its text; the next is answered", ALL, steps!(exception)),
        ("panic", "5.9", "a panic or unchecked exception fails its batch only", ALL, steps!(panic)),
        ("a-row-more", "5.6", "a row more than asked fails the batch, in the container", ALL, steps!(a_row_more)),
        ("a-row-less", "5.6", "a row less than asked fails the batch, in the container", ALL, steps!(a_row_less)),
        ("wrong-shape", "5.6", "rows of another shape fail the batch, in the container", ALL, steps!(wrong_shape)),
        ("wrong-type", "5.6", "elements of another type fail the batch, in the container", ALL, steps!(wrong_type)),
        ("missing-output", "5.6", "an output that is not given fails the batch, in the container", ALL, steps!(missing_output)),
    ]
}

async fn several_inputs(scene: &mut Scene) -> Result {
    scene.begin("suite-inputs").await?;
    let row = |a: [f32; 2], b: i64, c: &str| vec![fixed(&a), fixed(&[b]), c.into()];
    let batch = [
        row([1.5, 0.25], -3, "first"),
        row([0.0, 0.0], 0, ""),
        row([-2.0, 4.0], 40, "naïve"),
    ];
    let answer = scene.ask(&batch).await?;
    expect(
        "total",
        &vec![-1.25, 0.0, 42.0],
        &numbers::<f64>(&answer, 0)?,
    )?;
    let labels = ["first:-3", ":0", "naïve:40"].map(str::to_owned);
    expect("label", &labels.to_vec(), &texts(&answer, 1)?)
}

async fn not_a_number(scene: &mut Scene) -> Result {
    scene.begin("golden-fixed").await?;
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let values = [[nan, 1.0, infinity], [1.0, 2.0, -0.0], [infinity, 1.0, nan]];
    let batch: Vec<Row> = values.iter().map(|row| vec![fixed(row)]).collect();
    let y = numbers::<f32>(&scene.ask(&batch).await?, 0)?;
    // What of several NaNs comes is the model's matter.
    let shown = |y: &f32| {
        if y.is_nan() {
            "NaN".to_owned()
        } else {
            format!("{y:?}")
        }
    };
    let y: Vec<String> = y.iter().map(shown).collect();
    let expected = ["NaN", "inf", "3.0", "-0.0", "inf", "NaN"].map(str::to_owned);
    expect("y", &expected.to_vec(), &y)
}

async fn empty_texts(scene: &mut Scene) -> Result {
    scene.begin("golden-texts").await?;
    let row =
        |s: &str, tags: &[&[u8]]| Ok::<_, crate::wrong::Wrong>(vec![s.into(), strings(tags)?]);
    let batch = [row("", &[])?, row("", &[b""])?, row("", &[b"", b""])?];
    let answer = scene.ask(&batch).await?;
    expect("upper", &vec![String::new(); 3], &texts(&answer, 0)?)?;
    let counts: Vec<Vec<u32>> = answer[1]
        .cells()
        .map(|c| c.variable_dims().to_vec())
        .collect();
    expect(
        "tags of each row",
        &vec![vec![0], vec![1], vec![2]],
        &counts,
    )?;
    let answer = scene.ask(&[row("", &[])?]).await?;
    expect("upper", &vec![String::new()], &texts(&answer, 0)?)?;
    let answer = scene.ask(&[row("é mixed Z", &[b"a", b"b"])?]).await?;
    expect("upper", &vec!["é MIXED Z".to_owned()], &texts(&answer, 0)?)?;
    expect(
        "back",
        &vec!["b".to_owned(), "a".to_owned()],
        &texts(&answer, 1)?,
    )
}

async fn variable_rows(scene: &mut Scene) -> Result {
    scene.begin("sum").await?;
    let lengths = [0_usize, 1, 1000, 0, 7];
    let row = |length: &usize| vec![list(&vec![0.5; *length])];
    let batch: Vec<Row> = lengths.iter().map(row).collect();
    let sums = numbers::<f64>(&scene.ask(&batch).await?, 0)?;
    expect("sum", &vec![0.0, 0.5, 500.0, 0.0, 3.5], &sums)?;
    let batch: Vec<Row> = (0..3).map(|_| row(&0)).collect();
    let sums = numbers::<f64>(&scene.ask(&batch).await?, 0)?;
    expect("sum of nothing", &vec![0.0; 3], &sums)
}

async fn large_row(scene: &mut Scene) -> Result {
    scene.begin("sum").await?;
    let large = vec![list(&vec![0.5; LARGE])];
    let sums = numbers::<f64>(&scene.ask(&[large]).await?, 0)?;
    expect("sum", &vec![LARGE as f64 / 2.0], &sums)?;
    let sums = numbers::<f64>(&scene.ask(&[vec![list(&[1.0, 2.0])]]).await?, 0)?;
    expect("sum of a small row after", &vec![3.0], &sums)
}

async fn most_rows(scene: &mut Scene) -> Result {
    scene.begin("golden-fixed").await?;
    let row = |at: usize| {
        let at = at as f32;
        vec![fixed(&[at, 1.0, -at])]
    };
    let batch: Vec<Row> = (0..ROWS_MAX).map(row).collect();
    let answer = scene.ask(&batch).await?;
    let y = (0..ROWS_MAX).flat_map(|at| [at as f32 + 1.0, -2.0 * at as f32]);
    expect("y", &y.collect::<Vec<_>>(), &numbers::<f32>(&answer, 0)?)?;
    let top = (0..ROWS_MAX).map(|at| i64::from(at < 1));
    expect(
        "top",
        &top.collect::<Vec<_>>(),
        &numbers::<i64>(&answer, 1)?,
    )
}

/// A batch of one row that breaks the protocol; the container leaves and comes back.
async fn violation(scene: &mut Scene, model: &str, parts: Vec<Part>, rows: u32) -> Result {
    scene.begin(model).await?;
    let predict = Predict {
        batch: BatchId(1),
        rows,
        remaining: LONG,
        tensors: parts.into_iter().collect(),
    };
    scene.desk()?.predict(predict)?;
    scene.until_closed().await?;
    scene.serve(model, quiet()).await
}

fn part<T: Element>(tensor: u16, kind: PartKind, datatype: DataType, values: &[T]) -> Part {
    let mut payload = PayloadBuf::default();
    values.iter().for_each(|value| payload.push(*value));
    Part {
        tensor,
        kind,
        datatype,
        shape: [values.len() as i64][..].into(),
        payload: payload.freeze(),
    }
}

async fn not_utf8(scene: &mut Scene) -> Result {
    let row = |shape: &[i64], part: Part| Part {
        shape: shape.into(),
        ..part
    };
    let (data, offsets) = (PartKind::Data, PartKind::Offsets);
    let parts = vec![
        row(&[1], part(0, data, DataType::String, &[0xff_u8, 0xfe])),
        part(0, offsets, DataType::Uint64, &[0_u64, 2]),
        row(&[1, -1], part(1, data, DataType::Bytes, &[0_u8])),
        part(1, offsets, DataType::Uint64, &[0_u64, 1]),
        part(1, PartKind::Shapes, DataType::Uint32, &[1_u32]),
    ];
    violation(scene, "golden-texts", parts, 1).await
}

async fn offsets_go_back(scene: &mut Scene) -> Result {
    let data = part(0, PartKind::Data, DataType::Fp64, &[1.0_f64, 2.0]);
    let data = Part {
        shape: [2, -1][..].into(),
        ..data
    };
    let offsets = part(0, PartKind::Offsets, DataType::Uint64, &[0_u64, 3, 2]);
    violation(scene, "sum", vec![data, offsets], 2).await?;
    let sums = numbers::<f64>(&scene.ask(&[vec![list(&[1.0, 2.0])]]).await?, 0)?;
    expect("sum in the next session", &vec![3.0], &sums)
}

async fn two_in_flight(scene: &mut Scene) -> Result {
    scene.begin("golden-slow").await?;
    let first = scene.send(&rows(&[50_u32, 20]))?;
    let second = scene.send(&rows(&[1_u32]))?;
    let answer = scene.answer(second).await?;
    expect("y of the second", &vec![1], &numbers::<u32>(&answer, 0)?)?;
    let answer = scene.answer(first).await?;
    expect(
        "y of the first",
        &vec![50, 20],
        &numbers::<u32>(&answer, 0)?,
    )
}

/// A batch that goes wrong as `how` says, and one that does not: why the first failed.
async fn wrong(scene: &mut Scene, how: i64) -> Result<String> {
    scene.begin("suite-wrong").await?;
    let right = rows(&[0_i64, 0]);
    scene.ask(&right).await?;
    let mut why = String::new();
    for batch in [&[how][..], &[0, how, 0]] {
        why = scene.failure(&rows(batch)).await?;
        let answer = scene.ask(&right).await?;
        expect(
            "y of the batch after",
            &vec![0.0; 4],
            &numbers::<f32>(&answer, 0)?,
        )?;
    }
    Ok(why)
}

async fn exception(scene: &mut Scene) -> Result {
    let why = wrong(scene, AN_ERROR).await?;
    if why.contains(SAID) {
        return Ok(());
    }
    Err(format!("the error is '{why}', expected to contain '{SAID}'").into())
}

async fn panic(scene: &mut Scene) -> Result {
    wrong(scene, A_PANIC).await.map(drop)
}

async fn a_row_more(scene: &mut Scene) -> Result {
    wrong(scene, A_ROW_MORE).await.map(drop)
}

async fn a_row_less(scene: &mut Scene) -> Result {
    wrong(scene, A_ROW_LESS).await.map(drop)
}

async fn wrong_shape(scene: &mut Scene) -> Result {
    wrong(scene, A_WRONG_SHAPE).await.map(drop)
}

async fn wrong_type(scene: &mut Scene) -> Result {
    wrong(scene, A_WRONG_TYPE).await.map(drop)
}

async fn missing_output(scene: &mut Scene) -> Result {
    wrong(scene, A_MISSING_OUTPUT).await.map(drop)
}
