# SPDX-License-Identifier: Apache-2.0
r"""Says whether a completion gives the gold answer. The only place that calls math-verify.

Every reward, filter and evaluation that needs a correct answer calls `verify` or `verify_all`.

| Verdict         | reward | when                                                                                   |
|-----------------|--------|----------------------------------------------------------------------------------------|
| right           | 1.0    | the answer equals the gold, exactly                                                    |
| wrong           | 0.0    | it doesn't, can't be read, is too large to look at, or is a hedge of unequal boxes     |
| no_answer       | 0.0    | no answer outside the reasoning (`answer_extraction`)                                  |
| unparsable_gold | None   | the gold is blank, undefined, too large, or can't be read within the limits            |
| timeout         | 0.0    | the answer took more than `timeout_s` CPU seconds, or wasn't judged by `deadline_s`    |
| crash           | 0.0    | judging the answer took too much memory or failed                                      |
| None            | NaN    | our workers were lost twice: the row is unscorable                                     |

What is equal (`policy`, `comparison`); a test a line in `tests/unit/test_verifier_policy.py`:

| Pair                | Decision                                                                                     |
|---------------------|----------------------------------------------------------------------------------------------|
| numbers             | by exact value, any length: 0.5 = 1/2, 1,234 = 1234, 1.2e3 = 1200; 0.333 is not 1/3          |
| rounding            | a decimal is exactly that decimal: 3.14 is not pi, 0.33 is neither 1/3 nor 0.3333            |
| percent             | 50% = 0.5; 50% = 50 where one sign is missing, but 0.5% is not a gold 0.5 (a proportion)     |
| units               | missing on one side: the number decides; on both: 12 cm = 0.12 m, not 12 m; nouns don't count |
| degrees             | 90 degrees = 90 = pi/2                                                                       |
| bases               | the same digits, and bases that don't contradict: 101_2 = 101, not 101_3, not 5              |
| sets                | braces, "and", "or", bare commas, plus-minus: order doesn't matter                           |
| tuples              | order matters; (1,2) = <1,2> = a column = "1, 2"; it is not {1,2}                            |
| intervals           | by value and kind of their ends: [1,2) = 1 <= x < 2 = x in [1,2)                             |
| expressions         | equal for all real values of the same variables; + C matters                                 |
| systems, cases      | all rows, in any order; a system of values = the tuple of them in the order of the names     |
| domains             | "k in Z" may be left out, k may have another name; a contradicting domain is wrong           |
| equations           | up to a constant factor; x = 3 is 3, y = 2x+1 is 2x+1; y = 3 is not x = 3                    |
| ratios              | by value: 3:4 = 6:8 = 3/4; a time such as 12:30 by its text                                  |
| words               | case, spacing and a final period don't matter; never products of letters; no number words    |
| choice letters      | B = (B) = b) = "B. 12"; never the value of a choice; "(B) or (C)" chooses neither            |
| infinity, no answer | infinity has a sign; no solution = the empty set; undefined and the like are words           |
| notation            | what has no value (AB || CD, Fe_2O_3) as it is written                                       |
| several boxes       | the last sentence counts; unequal boxes of one sentence, or joined by or/and, are wrong      |
| a gold at fault     | unparsable_gold whatever the answer, so that a group is treated alike                        |
| approximations      | of an answer only the exact side counts, of a gold both; more than one sign in it is wrong   |
| an answer too large | wrong; timeout or crash where only a worker could tell                                       |

Path of a pair: `answer_extraction` finds the texts; `judge.judge_quickly` decides most pairs in process by exact
arithmetic (`reading`, `policy`, `comparison`, `exact`); `pool` gives the rest to workers that can be killed, which
compare in high precision (`numeric`), and by math-verify only where there are integrals, sums or limits (`calculus`).
A pair has a `budget` in process and goes to a worker beyond it. A gold that our grammar can't read and that holds no
calculus abstains: it is not tried with math-verify.
"""

from open_r1.rewards.verifier.verdict import Verdict
from open_r1.rewards.verifier.verification import log_verdicts, reward_of, verify, verify_all

__all__ = ["Verdict", "log_verdicts", "reward_of", "verify", "verify_all"]
