# The tables of tests/bench/elasticity, from its rows.
def median: sort | if length == 0 then null elif length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def fixed($n): if . == null then "-" else (. * pow(10; $n) | round | tostring) as $s
    | (if . < 0 then "-" else "" end) as $sign | ($s | ltrimstr("-")) as $d
    | if $n == 0 then $sign + $d else (("0" * ([$n + 1 - ($d | length), 0] | max)) // "") + $d
        | $sign + .[:-$n] + "." + .[-$n:] end end;
def pain($k): .instance_hours + $k * .miss_minutes;
def mean: add / length;
# of one policy in one row, each seed against the oracle
def ratios($row; $k): ($row.oracle | pain($k)) as $o | [.by_seed[] | pain($k) / $o];
def auto_of($k): .policies[] | select(.policy == "auto:price=\($k)");
def rivals: .policies[] | select(.policy | startswith("auto:") | not);
def best($k): . as $row | [rivals | { policy, pain: (ratios($row; $k) | mean), sigma5, kappa, over }] | min_by(.pain);
def judged($k): . as $row | (auto_of($k)) as $a | (best($k)) as $b | ($a | ratios($row; $k)) as $r
    | { trace, boot, load, late, k: $k, pain: ($r | median), mean: ($r | mean), seeds: $r, sigma5: $a.sigma5, kappa: $a.kappa,
        over: $a.over, best: $b, won: (($r | mean) < $b.pain) };
def share(f): 100 * (map(select(f)) | length) / length;
# the median over rows, seed by seed: how far chance moves it
def span: [.[].seeds] | transpose | map(median) | [min, max];
def summary($name): [ $name, length, (map(.pain) | median | fixed(3)), (span | map(fixed(3)) | join("-")), (map(.best.pain) | median | fixed(3)),
    "\(share(.won) | fixed(0))%", (map(.sigma5) | median | fixed(1)), (map(.kappa) | median | fixed(1)), (map(.over) | median | fixed(3)) ];
def head($name): [ $name, "rows", "auto", "over seeds", "best rival", "won", "sigma5", "kappa%", ">SLO%" ];
def by(f; $name): group_by(f)[] | . as $g | summary($name + ($g[0] | f | tostring));

($prices | split(" ") | map(tonumber)) as $ks
| map(select(.believed == 1)) as $rows | map(select(.believed != 1)) as $wrong
| ( $ks[] as $k | ($rows | map(judged($k))) as $j
    | ([], head("k = \($k)"), ($j | summary("all")), ($j | by(.boot; "boot s ")), ($j | by(.load; "load ")), ($j | by(.late; "late s ")), ($j | by(.trace; ""))) ),
  ( [], [ "policy, medians", "pain k=\($ks | join(", k="))", "sigma5", "sigma5@70", "kappa%", ">SLO%", "adaptations", "auto below it" ],
    ( [ $rows[] | . as $row | [ $ks[] as $k | auto_of($k) | ratios($row; $k) | mean ] as $mine
          | .policies[] | . + { pains: [ . as $p | $ks[] as $k | $p | ratios($row; $k) | mean ] } | . as $p
          | .below = [ range($ks | length) as $i | $mine[$i] < $p.pains[$i] ] ] | group_by(.policy) | sort_by(map(.pains[0]) | median)[]
      | . as $g | [ $g[0].policy, ([ range($ks | length) as $i | $g | map(.pains[$i]) | median | fixed(3) ] | join(", ")), ($g | map(.sigma5) | median | fixed(1)),
          ($g | map(.sigma5_at_70) | median | fixed(1)), ($g | map(.kappa) | median | fixed(1)), ($g | map(.over) | median | fixed(3)), ($g | map(.adaptations) | median | fixed(0)),
          (if $g[0].policy | startswith("auto:") then "-" else [ range($ks | length) as $i | "\($g | share(.below[$i]) | fixed(0))%" ] | join(", ") end) ] ),
    ( $rows | map(.oracle) | [ "oracle", ([ $ks[] | 1 | fixed(3) ] | join(", ")), (map(.sigma5) | median | fixed(1)), (map(.sigma5_at_70) | median | fixed(1)), "-",
          (map(.over) | median | fixed(3)), (map(.adaptations) | median | fixed(0)), "-" ] ) ),
  ( [], [ "lost by most", "k", "auto", "rival", "", "times" ],
    ( [ $rows[] as $row | $ks[] as $k | $row | judged($k) | select(.won | not) ] | sort_by(-.mean / .best.pain) | .[:12][]
      | [ "\(.trace) boot \(.boot) \(.load) late \(.late)", .k, (.mean | fixed(3)), (.best.pain | fixed(3)), .best.policy, (.mean / .best.pain | fixed(2)) ] ) ),
  ( [], [ "capacity", "rows", "auto k=\($ks[0])", "worst", ">SLO%", "worst" ],
    ( $wrong | group_by(.believed)[] | . as $g | [ $g[] | . as $row | auto_of($ks[0]) | { p: (ratios($row; $ks[0]) | mean), over } ] as $v
      | [ "told / \($g[0].believed)", ($v | length), ($v | map(.p) | median | fixed(3)), ($v | map(.p) | max | fixed(3)), ($v | map(.over) | median | fixed(3)), ($v | map(.over) | max | fixed(3)) ] ) ),
  ( [], [ "guarantees broken", ([ .[] | .policies[] | select(.violation != "") ] | length) ] )
| if length == 0 then "" else map(tostring) | join("\t") end
