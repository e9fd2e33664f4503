"""What an author may declare and return, without a front end."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import skysail


def told(what, call):
    with pytest.raises(skysail.ModelError) as error:
        call()
    assert what in str(error.value)


def declared(returns={"y": "f32[2]"}, **inputs):
    """A model that answers what `answer` returns."""

    def make(answer):
        @skysail.model(returns=returns, inputs=inputs or {"x": "f32[2]"})
        def answers(x):
            return answer(x)

        return skysail.local(answers)

    return make


ROWS = [[1, 2], [3, 4], [5, 6]]


class TestInputs:
    def test_a_batch_is_a_read_only_array_of_the_declared_type(self):
        def look(x):
            assert (x.shape, x.dtype, x.flags.writeable) == ((3, 2), np.float32, False)
            assert x.flags.c_contiguous
            with pytest.raises(ValueError):
                x[0, 0] = 1
            with pytest.raises(ValueError):
                x.flags.writeable = True
            return x

        assert declared()(look)(x=ROWS).tolist() == ROWS

    def test_rows_of_variable_dimensions_are_a_list_of_arrays(self):
        @skysail.model(v="f64[-1]", m="i16[-1,2,-1]", returns={"n": "i64", "m": "i16[-1,2,-1]"})
        def shapes(v, m):
            assert [row.shape for row in v] == [(3,), (0,)]
            return {"n": [row.size for row in v], "m": [row.transpose(2, 1, 0) for row in m]}

        m = [np.arange(12).reshape(3, 2, 2), np.arange(2).reshape(1, 2, 1)]
        found = skysail.local(shapes)(v=[[1, 2, 3], []], m=m)
        assert found["n"].tolist() == [3, 0]
        assert [row.tolist() for row in found["m"]] == [
            row.transpose(2, 1, 0).tolist() for row in m
        ]

    def test_texts_are_a_list_and_several_a_row_arrays(self):
        @skysail.model(
            text="string", tags="bytes[-1]", returns={"back": "string", "tags": "bytes[-1]"}
        )
        def texts(text, tags):
            assert text == ["a", "é", ""]
            assert [row.tolist() for row in tags] == [[b"x", b""], [], [b"\xff"]]
            return [t[::-1] for t in text], [list(row) for row in tags]

        found = skysail.local(texts)(text=["a", "é", ""], tags=[[b"x", b""], [], [b"\xff"]])
        assert found["back"] == ["a", "é", ""]
        assert [row.tolist() for row in found["tags"]] == [[b"x", b""], [], [b"\xff"]]

    def test_parameters_are_given_by_name_in_any_order(self):
        @skysail.model(a="f32", b="f32", returns={"d": "f32"})
        class Minus:
            def predict(self, b, ctx, a):
                assert ctx.rows == 2 and ctx.remaining() == float("inf")
                return a - b

        assert skysail.local(Minus)(a=[5, 6], b=[1, 2]).tolist() == [4, 4]

    def test_a_model_may_write_into_out(self):
        @skysail.model(x="f32[2]", returns={"y": "f32[2]", "n": "i64"})
        def write(x, out):
            assert not out["y"].any()
            out["y"][:] = 2 * x
            out["n"][1] = 7

        found = skysail.local(write)(x=ROWS)
        assert found["y"].tolist() == (2 * np.array(ROWS)).tolist()
        assert found["n"].tolist() == [0, 7, 0]


class TestOutputs:
    @pytest.mark.parametrize(
        "answer",
        [
            lambda x: x,
            lambda x: {"y": x},
            lambda x: x.tolist(),
            lambda x: [row for row in x],
            lambda x: x.astype(np.float64),
            lambda x: x.astype(np.int64),
            lambda x: np.asfortranarray(x),
            lambda x: np.repeat(x, 2, axis=1)[:, ::2],
            lambda x: x.astype(">f4"),
            lambda x: np.ma.array(x),
        ],
    )
    def test_one_output_is_taken_in_every_form(self, answer):
        assert declared()(answer)(x=ROWS).tolist() == ROWS

    @pytest.mark.parametrize(
        "answer, what",
        [
            (lambda x: None, "answers returned None: return 'y'"),
            (lambda x: x[1:], "output 'y' has 2 rows, the batch has 3"),
            (lambda x: x[:, 0], "output 'y' has the shape (3,), expected (3, 2)"),
            (lambda x: 0.5, "output 'y' has the shape (), expected (3, 2)"),
            (lambda x: x.astype(complex), "output 'y' is complex128, the signature says f32[2]"),
            (lambda x: x.astype(str), "the signature says f32[2]"),
            (lambda x: x.astype(object), "output 'y' is an array of objects (float)"),
            (lambda x: [[1, 2], [3], [4, 5]], "output 'y' has rows of different shapes"),
            (lambda x: {"z": x}, "returned the outputs 'z'; the signature has 'y'"),
            (lambda x: {"y": x, "z": x}, "returned the outputs 'y', 'z'"),
            (lambda x: {}, "the signature has 'y'"),
        ],
    )
    def test_whatever_does_not_fit_is_told(self, answer, what):
        told(what, lambda: declared()(answer)(x=ROWS))

    def test_integers_must_fit_and_floats_are_no_integers(self):
        small = declared(returns={"y": "i8[2]"})
        assert small(lambda x: x.astype(np.int64))(x=ROWS).dtype == np.int8
        told(
            "output 'y' has 1000 to 6000, which i8 cannot hold",
            lambda: small(lambda x: (1000 * x).astype(np.int64))(x=ROWS),
        )
        told(
            "convert it with .astype(np.int8), or declare another type",
            lambda: small(lambda x: x)(x=ROWS),
        )
        told("is float32", lambda: declared(returns={"y": "bool[2]"})(lambda x: x)(x=ROWS))
        flags = declared(returns={"y": "bool[2]"})(lambda x: x > 2)
        assert flags(x=ROWS).tolist() == [[False, False], [True, True], [True, True]]

    def test_several_outputs_come_by_name_or_in_order(self):
        two = declared(returns={"y": "f32[2]", "n": "i64"})
        for answer in (lambda x: (x, [1, 2, 3]), lambda x: {"n": np.arange(1, 4), "y": x}):
            assert two(answer)(x=ROWS)["n"].tolist() == [1, 2, 3]
        told("a tuple of 3; the signature has 2 outputs", lambda: two(lambda x: (x, x, x))(x=ROWS))
        told("returned a ndarray; the signature has 2", lambda: two(lambda x: x)(x=ROWS))

    def test_texts_and_rows_of_their_own_shape_are_checked_row_by_row(self):
        text = declared(returns={"t": "string"})
        told("expected a list of 3 rows", lambda: text(lambda x: "abc")(x=ROWS))
        told("has 2 rows, the batch has 3", lambda: text(lambda x: ["a", "b"])(x=ROWS))
        told("has a int in row 1", lambda: text(lambda x: ["a", 2, "c"])(x=ROWS))
        assert text(lambda x: np.array(["a", "b", "c"]))(x=ROWS) == ["a", "b", "c"]
        ragged = declared(returns={"v": "f32[-1,2]"})
        rows = [np.ones((at, 2)) for at in range(3)]
        assert [row.shape for row in ragged(lambda x: rows)(x=ROWS)] == [(0, 2), (1, 2), (2, 2)]
        told("has the shape (4,) in row 0", lambda: ragged(lambda x: [np.ones(4)] * 3)(x=ROWS))

    def test_rows_fail_on_their_own(self):
        @skysail.model(x="i64", returns={"y": "i64", "t": "string"})
        class Picky:
            def predict_row(self, x, ctx):
                if x == 13:
                    raise skysail.RowError("13 is unlucky")
                if x < 0:
                    raise ValueError("negative")
                return int(2 * x), str(x)

        picky = skysail.local(Picky)
        found = picky(x=[1, 13, 3, -4])
        assert found["y"].tolist() == [2, 0, 6, 0]
        assert found["t"] == ["1", None, "3", None]
        assert picky.failed == {1: "13 is unlucky", 3: "ValueError: negative"}
        picky(x=[1])
        assert picky.failed == {}

        @skysail.model(x="i64", returns={"y": "i64", "t": "string"})
        def batch(x, ctx):
            ctx.fail_row(2, "the last")
            return [1, skysail.RowError("the second"), 3], ["a", "b", "c"]

        batch = skysail.local(batch)
        assert batch(x=[1, 2, 3])["y"].tolist() == [1, 0, 3]
        assert batch.failed == {1: "the second", 2: "the last"}


class TestDeclarations:
    @pytest.mark.parametrize(
        "declare, what",
        [
            (dict(x="f33[2]"), "model Wrong: 'f33[2]' is not a tensor type"),
            (dict(x=np.float32), "is no tensor: say its type and the shape of a row"),
            (dict(x="f32[0]"), "dimension 0"),
            (dict(), "model Wrong: it has no inputs"),
            (dict(z="f32"), "predict(self, x) takes 'x', which is no input; the inputs are z"),
            (dict(x="f32", z="f32"), "does not take the input 'z'"),
        ],
    )
    def test_what_is_wrong_is_told_with_the_model(self, declare, what):
        @skysail.model(returns="f32", **declare)
        class Wrong:
            def predict(self, x):
                return x

        told(what, lambda: skysail.local(Wrong))

    def test_a_class_has_one_way_to_predict(self):
        for methods in ({}, {"predict": lambda self, x: x, "predict_row": lambda self, x: x}):
            model = skysail.model(x="f32", returns="f32")(type("Both", (), methods))
            told("define exactly one", lambda model=model: skysail.local(model))
        told("is not a model: decorate it", lambda: skysail.local(int))

    def test_a_function_may_answer_row_by_row(self):
        @skysail.model(x="f32[2]", returns="f32", per_row=True)
        def first(x):
            assert x.shape == (2,)
            return x[0]

        assert skysail.local(first)(x=ROWS).tolist() == [1, 3, 5]


def test_examples_in_the_documentation_work():
    attempted = 0
    for found in pkgutil.iter_modules(skysail.__path__):
        if found.name.startswith("__"):
            continue
        module = importlib.import_module(f"skysail.{found.name}")
        result = doctest.testmod(module, verbose=False)
        assert result.failed == 0, module
        attempted += result.attempted
    assert attempted > 5


def test_everything_public_says_what_it_is():
    for name in skysail.__all__:
        thing = getattr(skysail, name)
        assert name == "__version__" or inspect.getdoc(thing), name
        if inspect.isclass(thing):
            for key, value in vars(thing).items():
                if inspect.isfunction(value) and not key.startswith("_"):
                    assert inspect.getdoc(value), f"{name}.{key}"


class TestWhatIsNoListOfRows:
    @pytest.mark.parametrize("value", [{"b", "a", "c"}, {"a": {}, "b": {}, "c": {}}, iter("abc")])
    def test_is_refused_rather_than_taken_in_some_order(self, value):
        answer = declared({"y": "string"})(lambda x: {"y": value})
        told("expected a list of 3 rows", lambda: answer(x=ROWS))

    def test_an_empty_row_has_no_type(self):
        answer = declared({"y": "i32[-1]"})(lambda x: [[], [1], []])
        assert [list(row) for row in answer(x=ROWS)] == [[], [1], []]


def test_a_forked_process_that_comes_back_from_predict_ends_there(python, tmp_path):
    (tmp_path / "forks.py").write_text(
        "import os, skysail\n"
        "@skysail.model(x='f32', returns={'y': 'f32'})\n"
        "def forks(x):\n"
        "    child = os.fork()\n"
        "    if child:\n"
        "        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "    return x\n"
        "print(skysail.local(forks)(x=[1.0]))\n"
    )
    status, out, err = python("forks.py")
    assert (status, out) == (0, "1\n[1.]\n"), err
