// SPDX-License-Identifier: Apache-2.0
#include "data_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define CSV "d.csv"

static const struct pacer_tensor_info *four(void) {
    static struct pacer_tensor_info x;
    static const int64_t shape[] = {-1, 4};
    x = input("X", PACER_FP32, shape, 2);
    return &x;
}

// Two scalars and a text, of the shapes that such inputs have.
static const struct pacer_tensor_info *three(void) {
    static struct pacer_tensor_info inputs[3];
    static const int64_t column[] = {-1, 1}, flat[] = {-1};
    inputs[0] = input("age", PACER_INT32, column, 2);
    inputs[1] = input("name", PACER_BYTES, flat, 1);
    inputs[2] = input("score", PACER_FP64, flat, 0);
    return inputs;
}

static void all_columns_fill_the_row_of_the_only_input(void **state) {
    struct fixture *f = *state;
    good_text(f, CSV, "a,b,c,d\n1,2.5,-3,4e2\n5,6,7,8\n", four(), 1);
    assert_int_equal(f->data.rows, 2);
    expect_shape(f, 0, SHAPE(2, 4));
    EXPECT(f, 0, float, 1, 2.5f, -3, 400, 5, 6, 7, 8);
}

static void columns_by_name_in_any_order_others_left_aside(void **state) {
    struct fixture *f = *state;
    good_text(f, CSV, "x,score,name,age\r\nn/a,0.5,Ann,30\r\n,-1e-3,\"Bob, jr\",-4\r\n", three(),
              3);
    assert_int_equal(f->data.rows, 2);
    expect_shape(f, 0, SHAPE(2, 1));
    expect_shape(f, 1, SHAPE(2));
    expect_shape(f, 2, SHAPE(2)); // of a scalar, too
    EXPECT(f, 0, int32_t, 30, -4);
    EXPECT(f, 2, double, 0.5, -1e-3);
    expect_text(f, 1, 0, "Ann");
    expect_text(f, 1, 1, "Bob, jr");
}

static void by_name_also_for_one_input(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info x = input("x", PACER_INT64, SHAPE(-1, 1));
    good_text(f, CSV, "y,x\n1,2\n", &x, 1);
    EXPECT(f, 0, int64_t, 2);
    good_text(f, CSV, "other\n7\n8\n", &x, 1); // one column, one value: the name does not matter
    EXPECT(f, 0, int64_t, 7, 8);
    bad_text(f, CSV, "y,z\n1,2\n", &x, 1, PACER_EINVAL, "the columns do not make up a row");
}

static void dimensions_of_several_sizes(void **state) {
    struct fixture *f = *state;
    static const char six[] = "a,b,c,d,e,f\n1,2,3,4,5,6\n";
    const struct pacer_tensor_info fixed = input("X", PACER_FP32, SHAPE(-1, 2, 3));
    const struct pacer_tensor_info open = input("X", PACER_FP32, SHAPE(-1, -1));
    const struct pacer_tensor_info solved = input("X", PACER_FP32, SHAPE(-1, -1, 3));
    const struct pacer_tensor_info odd = input("X", PACER_FP32, SHAPE(-1, -1, 4));
    const struct pacer_tensor_info two_open = input("X", PACER_FP32, SHAPE(-1, -1, -1));
    const struct pacer_tensor_info empty = input("X", PACER_FP32, SHAPE(-1, 0));
    const struct pacer_tensor_info huge = input("X", PACER_FP32, SHAPE(-1, INT64_MAX, INT64_MAX));
    const struct pacer_tensor_info one = input("X", PACER_FP32, SHAPE(1, 6));
    const struct pacer_tensor_info any = input("X", PACER_FP32, NULL, 0);
    good_text(f, CSV, six, &fixed, 1);
    expect_shape(f, 0, SHAPE(1, 2, 3));
    good_text(f, CSV, six, &open, 1);
    expect_shape(f, 0, SHAPE(1, 6));
    good_text(f, CSV, "X,b,c,d,e,f\n1,2,3,4,5,6\n", &open, 1); // though one is called like it
    expect_shape(f, 0, SHAPE(1, 6));
    good_text(f, CSV, six, &solved, 1);
    expect_shape(f, 0, SHAPE(1, 2, 3));
    good_text(f, CSV, six, &any, 1);
    expect_shape(f, 0, SHAPE(1, 6));
    good_text(f, CSV, "a,b,c,d,e,f\n1,2,3,4,5,6\n1,2,3,4,5,6\n", &one, 1);
    expect_shape(f, 0, SHAPE(2, 6));
    bad_text(f, CSV, six, &odd, 1, PACER_EINVAL, "'X' [-1,-1,4]");
    bad_text(f, CSV, six, &two_open, 1, PACER_EINVAL, "the file has 6 columns: 'a', 'b', 'c'");
    bad_text(f, CSV, six, &empty, 1, PACER_EINVAL, "do not make up a row");
    bad_text(f, CSV, six, &huge, 1, PACER_EINVAL, "do not make up a row");
}

static void open_columns_of_several_inputs_are_one_wide(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info inputs[] = {input("a", PACER_FP32, SHAPE(-1, -1)),
                                               input("b", PACER_FP32, NULL, 0)};
    good_text(f, CSV, "b,a\n1,2\n", inputs, 2);
    expect_shape(f, 0, SHAPE(1, 1));
    EXPECT(f, 0, float, 2);
}

static void quotes(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info inputs[] = {input("a b", PACER_BYTES, SHAPE(-1)),
                                               input("n\"n", PACER_FP32, SHAPE(-1))};
    good_text(f, CSV,
              "\"a b\",\"n\"\"n\"\n\"say \"\"hi\"\"\",\"1.5\"\n\"two\r\nlines\",2\n\"\",\"3\"\r\n"
              "\"\"\"\",4\n ' ,5\n\"\"\"\"\"x\"\"\",\"6\"",
              inputs, 2);
    assert_int_equal(f->data.rows, 6);
    expect_text(f, 0, 0, "say \"hi\"");
    expect_text(f, 0, 1, "two\r\nlines");
    expect_text(f, 0, 2, "");
    expect_text(f, 0, 3, "\"");
    expect_text(f, 0, 4, " ' ");
    expect_text(f, 0, 5, "\"\"x\"");
    EXPECT(f, 1, float, 1.5f, 2, 3, 4, 5, 6);
    bad_text(f, CSV, "a b,\"n\"\"n\"\nx,1\n\"y,2\nz,3\n", inputs, 2, PACER_ESYNTAX,
             "d.csv:3: a quoted field that begins here never ends");
    bad_text(f, CSV, "a b,\"n\"\"n\"\n\"x\"y,1\n", inputs, 2, PACER_ESYNTAX,
             "d.csv:2: something follows the closing quote of a field");
    bad_text(f, CSV, "a b,\"n\"\"n\"\nx\"y\",1\n", inputs, 2, PACER_ESYNTAX,
             "d.csv:2: a quote within a field");
    bad_text(f, CSV, "a b,\"n\"\"n\"\nx,1\n\"a\n\nb\",zwei\n", inputs, 2, PACER_EINVAL,
             "d.csv:5: column 'n\"n': 'zwei' is no number");
}

static void ends_of_lines_and_files(void **state) {
    struct fixture *f = *state;
    static const char *const texts[] = {
        "a,b,c,d\n1,2,3,4\n5,6,7,8",
        "a,b,c,d\n1,2,3,4\n5,6,7,8\n\n\n",
        "a,b,c,d\r\n1,2,3,4\r\n5,6,7,8",
        "a,b,c,d\r\n1,2,3,4\r\n5,6,7,8\r\n\r\n",
        "a,b,c,d\n1,2,3,4\r\n5,6,7,8\r",
        ("\xef\xbb\xbf"
         "a,b,c,d\n1,2,3,4\n5,6,7,8\n"),
        "a, b ,c,d\n 1,2 ,\t3,4\n5,6,7,8 ",
        "a,b,c,d\n1,2,3,4\n5,6,7,\"8\"\r\n\r\n",
        "a,b,c,d\n1,2,3,4\n5,6,7,\"8\"\r",
    };
    for (size_t i = 0; i < PCR_COUNT_OF(texts); i++) {
        good_text(f, CSV, texts[i], four(), 1);
        assert_int_equal(f->data.rows, 2);
        EXPECT(f, 0, float, 1, 2, 3, 4, 5, 6, 7, 8);
    }
    bad_text(f, CSV, "a,b,c,d\n1,2,3,4\n\n5,6,7,8\n", four(), 1, PACER_ESYNTAX,
             "d.csv:3: an empty line");
    bad_text(f, CSV, "a,b,c,d\n1,2,3,4\r\n\r\n5,6,7,8\n", four(), 1, PACER_ESYNTAX,
             "d.csv:3: an empty line");
    bad_text(f, CSV, "a,b,c,d\r1,2,3,4\r5,6,7,8\r", four(), 1, PACER_ESYNTAX,
             "carriage return alone");
}

static void separators(void **state) {
    struct fixture *f = *state;
    good_text(f, "d.tsv", "a\tb,\tc\td\n1\t2\t3\t4\n", four(), 1);
    good_text(f, "D.TSV", "a,,,,\tb\tc\td\n1\t2\t3\t4\n", four(), 1);
    good_text(f, CSV, "a;b;c,;d\n1;2;3;4\n", four(), 1);
    good_text(f, CSV, "a\tb\tc\td\n1\t2\t3\t4\n", four(), 1);
    good_text(f, CSV, "\"a;;;;;\",b,\"c\n;;;;\",d\n1,2,3,4\n", four(), 1);
    EXPECT(f, 0, float, 1, 2, 3, 4);
    bad_text(f, CSV, "a;b;c;d\n1;2;3,5;4\n", four(), 1, PACER_EINVAL,
             "d.csv:2: column 'c': '3,5' is no number; expected a number of at most 3.403e38 in "
             "size (FP32); decimals have a point");
}

static void fields_too_many_and_too_few(void **state) {
    struct fixture *f = *state;
    bad_text(f, CSV, "a,b,c,d\n1,2,3,4\n1,2,3\n", four(), 1, PACER_ESYNTAX,
             "d.csv:3: 3 fields, but the header line has 4");
    bad_text(f, CSV, "a,b,c,d\n1,2,3,4,5\n", four(), 1, PACER_ESYNTAX,
             "d.csv:2: more than 4 fields, but the header line has 4");
    bad_text(f, CSV, "a,b,c,d\n1,2,3,4,\n", four(), 1, PACER_ESYNTAX, "more than 4 fields");
    bad_text(f, CSV, "a,b,c,d\n1\n", four(), 1, PACER_ESYNTAX, "d.csv:2: 1 field, but");
}

static void no_header_no_rows(void **state) {
    struct fixture *f = *state;
    bad_text(f, CSV, "1,2,3,4\n5,6,7,8\n", four(), 1, PACER_ESYNTAX,
             "d.csv:1: the first line holds nothing but numbers; expected a header line");
    bad_text(f, CSV, "nan,-inf,\"3\",4\n5,6,7,8\n", four(), 1, PACER_ESYNTAX, "header line");
    good_text(f, CSV, "1,2,3,x\n5,6,7,8\n", four(), 1); // one name makes it a header
    bad_text(f, CSV, "a,b,c,d\n", four(), 1, PACER_EINVAL, "no row after the header line");
    bad_text(f, CSV, "a,b,c,d", four(), 1, PACER_EINVAL, "no row after the header line");
    bad_text(f, CSV, "a,b,c,d\r\n\r\n", four(), 1, PACER_EINVAL, "no row after the header line");
    bad_text(f, CSV, "", four(), 1, PACER_EINVAL, "d.csv: the file is empty");
    bad_text(f, CSV, "\xef\xbb\xbf", four(), 1, PACER_EINVAL, "d.csv: the file is empty");
    bad_text(f, CSV, "\n\r\n ", four(), 1, PACER_EINVAL, "d.csv: the file is empty");
}

static void columns_that_do_not_fit(void **state) {
    struct fixture *f = *state;
    bad_text(f, CSV, "a,b,c\n1,2,3\n", four(), 1, PACER_EINVAL,
             "d.csv: the columns do not make up a row: the model takes 1 input: 'X' [-1,4]; the "
             "file has 3 columns: 'a', 'b', 'c'");
    bad_text(f, CSV, ",a,b,c,d\n0,1,2,3,4\n", four(), 1, PACER_EINVAL, "is it an index?");
    bad_text(f, CSV, "age,Name,score\n1,2,3\n", three(), 3, PACER_EINVAL,
             "there is no column for input 'name'; the model takes 3 inputs: 'age' [-1,1], 'name' "
             "[-1], 'score' []; the file has 3 columns: 'age', 'Name', 'score'");
    bad_text(f, CSV, "age,name,score,age\n1,2,3,4\n", three(), 3, PACER_EINVAL,
             "two columns are called 'age'");
    const struct pacer_tensor_info wide[] = {input("a", PACER_FP32, SHAPE(-1, 2)),
                                             input("b", PACER_FP32, SHAPE(-1, 1))};
    bad_text(f, CSV, "a,b\n1,2\n", wide, 2, PACER_EINVAL, "or write .npz or JSON lines");
    bad_text(f, CSV, "a\x01\xff,b\n1,2\n", four(), 1, PACER_EINVAL,
             "'a?"
             "?', 'b'");
    bad_text(f, CSV, "a,b\n1,2\n", NULL, 0, PACER_EINVAL, "takes no inputs");
}

static void many_names_are_cut_short(void **state) {
    struct fixture *f = *state;
    struct pcr_buf text;
    pcr_buf_init(&text, 1 << 20);
    for (int i = 0; i < 5000; i++)
        pcr_buf_printf(&text, "%sa_rather_long_name_of_a_column_that_somebody_made_up_%d",
                       i ? "," : "", i);
    pcr_buf_text(&text, "\n1\n");
    bad_text(f, CSV, text.data, four(), 1, PACER_EINVAL, "the file has 5000 columns: 'a_rather");
    assert_true(strstr(f->err.message, "…"));
    pcr_buf_fini(&text);
}

static void columns_up_to_the_limit(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info x = input("X", PACER_UINT8, SHAPE(-1, -1));
    for (int more = 0; more < 2; more++) {
        struct pcr_buf text;
        pcr_buf_init(&text, 1 << 20);
        for (int i = 1; i < PCR_DATA_COLUMNS_MAX + more; i++)
            pcr_buf_text(&text, "c,");
        pcr_buf_text(&text, "c\n");
        for (int i = 1; i < PCR_DATA_COLUMNS_MAX + more; i++)
            pcr_buf_text(&text, "7,");
        pcr_buf_text(&text, "7\n");
        if (more) {
            bad_text(f, CSV, text.data, &x, 1, PACER_ELIMIT, "d.csv:1: more than 65536 columns");
        } else {
            good_text(f, CSV, text.data, &x, 1);
            expect_shape(f, 0, SHAPE(1, PCR_DATA_COLUMNS_MAX));
            assert_int_equal(((const uint8_t *)f->data.tensors[0].data)[65535], 7);
        }
        pcr_buf_fini(&text);
    }
}

static void values_that_do_not_fit(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *row, *words;
    } cases[] = {
        {"x,Ann,1", "d.csv:2: column 'age': 'x' is no number; expected a whole number from "
                    "-2147483648 to 2147483647 (INT32)"},
        {"1.5,Ann,1", "column 'age': '1.5' is no whole number"},
        {"2147483648,Ann,1", "column 'age': '2147483648' is out of range"},
        {",Ann,1", "column 'age': '' is a missing value"},
        {"1,A\xff,1", "column 'name': 'A?' is not UTF-8; expected text (BYTES); save the file as"},
        {"1,Ann,", "column 'score': '' is a missing value; expected a number"},
        {"1,Ann,nan", "column 'score': 'nan' is not finite"},
        {"1,Ann,-inf", "column 'score': '-inf' is not finite"},
        {"1,Ann,1e400", "column 'score': '1e400' is out of range"},
        {"1,Ann,\"1\"\"\"", "column 'score': '1\"' is no number"},
    };
    for (size_t i = 0; i < PCR_COUNT_OF(cases); i++) {
        char text[200];
        snprintf(text, sizeof text, "age,name,score\n%s\n", cases[i].row);
        bad_text(f, CSV, text, three(), 3, PACER_EINVAL, cases[i].words);
    }
    bad_bytes(f, CSV, "age,name,score\n1,A\0n,1\n", 22, three(), 3, PACER_ESYNTAX,
              "d.csv:2: a NUL byte");
    bad_bytes(f, CSV, "age,na\0me,score\n1,An,1\n", 22, three(), 3, PACER_ESYNTAX,
              "d.csv:1: a NUL byte");
    bad_text(f, CSV, ",b,c,d\nx,2,3,4\n", four(), 1, PACER_EINVAL, "d.csv:2: column 1: 'x'");
}

static void nan_where_it_is_allowed(void **state) {
    struct fixture *f = *state;
    f->options.allow_nan = true;
    good_text(f, CSV, "a,b,c,d\nnan,,-inf,NA\n", four(), 1);
    const float *x = f->data.tensors[0].data;
    assert_true(isnan(x[0]) && isnan(x[1]) && x[2] == -INFINITY && isnan(x[3]));
    bad_text(f, CSV, "age,name,score\n,Ann,\n", three(), 3, PACER_EINVAL, "column 'age': ''");
    bad_text(f, CSV, "a,b,c,d\n1,2,3,1e39\n", four(), 1, PACER_EINVAL, "'1e39' is out of range");
}

static void no_more_rows_than_asked_for(void **state) {
    struct fixture *f = *state;
    f->options.rows_max = 2;
    good_text(f, CSV, "a,b,c,d\n1,2,3,4\n5,6,7,8\nand what follows is not looked at", four(), 1);
    assert_int_equal(f->data.rows, 2);
    f->options.rows_max = 5;
    good_text(f, CSV, "a,b,c,d\n1,2,3,4\n5,6,7,8\n", four(), 1);
    assert_int_equal(f->data.rows, 2);
}

// Line ends within quotes make more lines than rows, short rows fewer bytes than lines tell.
static void the_number_of_rows_is_found(void **state) {
    struct fixture *f = *state;
    const struct pacer_tensor_info text = input("t", PACER_BYTES, SHAPE(-1));
    good_text(f, CSV, "t\n\"\n\n\n\n\"\nb\n\"\n\"\n", &text, 1);
    assert_int_equal(f->data.rows, 3);
    expect_text(f, 0, 0, "\n\n\n\n");
    expect_text(f, 0, 2, "\n");
    const struct pacer_tensor_info two[] = {input("t", PACER_BYTES, SHAPE(-1)),
                                            input("u", PACER_BYTES, SHAPE(-1))};
    good_text(f, CSV, "t,u\n,\n,\n,\n,", two, 2);
    assert_int_equal(f->data.rows, 4);
    struct pcr_arena small = f->arena;
    pcr_arena_init(&f->arena, 64);
    bad_text(f, CSV, "t\na\nb\nc\nd\ne\n", &text, 1, PACER_ENOMEM, "no memory for 5 rows");
    pcr_arena_fini(&f->arena);
    pcr_arena_init(&f->arena, 100); // enough for the list, not for the texts
    bad_text(f, CSV, "t\na text that is too long for the rest\nb\nc\nd\ne\n", &text, 1,
             PACER_ENOMEM, "d.csv: no memory to read it");
    pcr_arena_fini(&f->arena);
    f->arena = small;
}

static void other_formats(void **state) {
    struct fixture *f = *state;
    bad_text(f, CSV, "\x1f\x8b\x08", four(), 1, PACER_EUNSUPPORTED, "this is gzip; decompress");
    bad_text(f, CSV, "PAR1\x15...", four(), 1, PACER_EUNSUPPORTED, "this is Parquet");
    bad_text(f, CSV,
             "\xff\xfe"
             "a",
             four(), 1, PACER_EUNSUPPORTED, "UTF-16");
    bad_text(f, CSV, "\x80\x04\x95", four(), 1, PACER_EUNSUPPORTED, "a pickle");
    const struct pacer_tensor_info typeless = input("X", PACER_DTYPE_INVALID, SHAPE(-1, 4));
    bad_text(f, CSV, "a,b,c,d\n1,2,3,4\n", &typeless, 1, PACER_EUNSUPPORTED, "of a type that");
    struct pacer_tensor_info deep = *four();
    deep.rank = 17;
    bad_text(f, CSV, "a,b,c,d\n1,2,3,4\n", &deep, 1, PACER_ELIMIT, "has 17 dimensions");
}

static void from_a_file(void **state) {
    struct fixture *f = *state;
    char path[] = "/tmp/pacer-data-XXXXXX.csv";
    int fd = mkstemps(path, 4);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a,b,c,d\n1,2,3,4\n", 16), 16);
    close(fd);
    assert_int_equal(pcr_data_load(path, four(), 1, NULL, &f->arena, &f->data, &f->err), 0);
    EXPECT(f, 0, float, 1, 2, 3, 4);
    unlink(path);
    assert_int_equal(pcr_data_load(path, four(), 1, NULL, &f->arena, &f->data, &f->err),
                     PACER_ENOTFOUND);
    assert_non_null(strstr(f->err.message, path));
    assert_int_equal(f->data.rows, 0);
    assert_int_equal(pcr_data_load("/tmp", four(), 1, NULL, &f->arena, &f->data, &f->err),
                     PACER_EIO);
    assert_int_equal(pcr_data_load(path, four(), 1, NULL, &f->arena, &f->data, NULL),
                     PACER_ENOTFOUND);
}

static void slices(void **state) {
    struct fixture *f = *state;
    good_text(f, CSV, "age,name,score\n1,a,0.1\n2,b,0.2\n3,c,0.3\n4,d,0.4\n", three(), 3);
    struct pacer_tensor *views = pcr_data_views(&f->data, &f->arena);
    pcr_data_slice(&f->data, 1, 2, views);
    assert_int_equal(views[0].shape[0], 2);
    assert_int_equal(views[0].shape[1], 1);
    assert_int_equal(views[0].rank, 2);
    assert_string_equal(views[1].name, "name");
    assert_memory_equal(views[0].data, ((int32_t[]){2, 3}), 8);
    assert_memory_equal(((const struct pacer_bytes *)views[1].data)[1].data, "c", 1);
    assert_memory_equal(views[2].data, ((double[]){0.2, 0.3}), 16);
    assert_int_equal(f->data.tensors[0].shape[0], 4); // as it was
    pcr_data_slice(&f->data, 0, 4, views);
    assert_ptr_equal(views[2].data, f->data.tensors[2].data);
    pcr_data_slice(&f->data, 4, 0, views);
    assert_int_equal(views[1].shape[0], 0);
    struct pcr_arena none;
    pcr_arena_init(&none, 0);
    assert_null(pcr_data_views(&f->data, &none));
    pcr_arena_fini(&none);
}

static void any_amount_of_memory(void **state) {
    static const char text[] = "age,name,score\n1,\"a \"\"b\"\"\",0.1\n2,b,0.2\n";
    every_amount_of_memory(*state, CSV, text, sizeof text - 1, three(), 3);
}

static void a_file_that_is_too_large(void **state) {
    struct fixture *f = *state;
    char path[] = "/tmp/pacer-data-XXXXXX.csv";
    int fd = mkstemps(path, 4);
    assert_true(fd >= 0);
    int rc = ftruncate(fd, (off_t)PCR_DATA_FILE_BYTES_MAX + 1); // takes no space
    close(fd);
    if (rc == 0)
        rc = pcr_data_load(path, four(), 1, NULL, &f->arena, &f->data, &f->err);
    unlink(path);
    assert_int_equal(rc, PACER_ELIMIT);
    assert_non_null(strstr(f->err.message, "is larger than 2147483648 bytes"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(all_columns_fill_the_row_of_the_only_input),
        TEST(columns_by_name_in_any_order_others_left_aside),
        TEST(by_name_also_for_one_input),
        TEST(dimensions_of_several_sizes),
        TEST(open_columns_of_several_inputs_are_one_wide),
        TEST(quotes),
        TEST(ends_of_lines_and_files),
        TEST(separators),
        TEST(fields_too_many_and_too_few),
        TEST(no_header_no_rows),
        TEST(columns_that_do_not_fit),
        TEST(many_names_are_cut_short),
        TEST(columns_up_to_the_limit),
        TEST(values_that_do_not_fit),
        TEST(nan_where_it_is_allowed),
        TEST(no_more_rows_than_asked_for),
        TEST(the_number_of_rows_is_found),
        TEST(other_formats),
        TEST(from_a_file),
        TEST(slices),
        TEST(any_amount_of_memory),
        TEST(a_file_that_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
