"""Writes table.json: plain scalars, and what PyYAML's safe loader makes of them."""
import datetime, itertools, json, pathlib, yaml

WORDS = """yes Yes YES yEs no No NO on On ON off Off OFF true True TRUE tRue false False FALSE y Y n N t f
null Null NULL ~ nULL = << .inf .Inf .INF -.inf +.inf .iNF .nan .NaN .NAN -.nan 0 00 0644 0o644 0888 08 -0644
+0 -0 1 -1 +1 1_000 1__0 _1 1_ 0_7 0b101 0b 0b_ 0b12 -0b11 0x1F 0xfg -0xff 0x_1 0X1F 1e3 1E3 1e+3 1.0e3 1.0e+3
1.e+3 1.5 1. .5 -.5 +.5 -1.5 1_0.5_0 1.5e-3 1.5E-03 . .. ... - -- + 1.2.3 22:30 22:60 1:2:3 190:20:30 -1:30 01:30 0:30
1:5 1:05 1:005 60:60 1:30.5 190:20:30.15 12:30:45 1:3x 2024-01-02 2024-1-2 2024-13-01 2024-02-30 2024-02-29
2023-02-29 0000-01-01 2024-01-02T03:04:05 2024-01-02t03:04:05Z 2024-1-2T3:04:05 2024-01-02T03:04:05.5
2024-01-02T03:04:05.1234567 2024-01-02T03:04:05+02:00 2024-01-02T03:04:05-5 2024-01-02T24:04:05
2024-01-02T03:04:05+24:00 123456789012345678901234567890 -123456789012345678901234567890 a a:b a#b 10.0.0.1 1.0.0
1,000 0x 0xg 1e 12e03 -2E+05 685_230.15 685.230_15e+03 ._5 .5_ 0.0 -0.0 1e5.0 0e+1 007 0_ 0__ 09 1-2 v1.0 +12:30:45
Null. nulls none None NONE""".split()
SPACED = ["2024-01-02 03:04:05", "2024-01-02 3:04:05 Z", "2024-01-02 03:04:05 +1", "a b", "1 2", "2024-01-02 03:04"]
MADE = ["".join(p) for p in itertools.product("-+0.1:_e", repeat=3)]


def shown(text):
    try:
        value = yaml.safe_load("- " + text)
    except Exception:
        return ["error", ""]
    if not isinstance(value, list) or len(value) != 1 or isinstance(value[0], (list, dict)):
        return None
    value = value[0]
    if isinstance(value, (datetime.date, datetime.datetime)):
        return ["timestamp", str(value)]
    return [type(value).__name__, repr(value) if isinstance(value, float) else str(value)]


table = [[text, *found] for text in dict.fromkeys(WORDS + SPACED + MADE) if (found := shown(text))]
path = pathlib.Path(__file__).with_name("table.json")
path.write_text("[\n" + ",\n".join(json.dumps(row) for row in table) + "\n]\n")
