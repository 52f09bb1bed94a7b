# SPDX-License-Identifier: Apache-2.0
r"""Says whether a completion gives the gold answer.

Every reward, filter and evaluation that needs a correct answer calls `verify` or `verify_all`;
`python -m open_r1.rewards.verifier GOLD ANSWER` shows how both are read and what decides.

| Verdict         | reward | when                                                                                   |
|-----------------|--------|----------------------------------------------------------------------------------------|
| right           | 1.0    | the answer equals the gold, exactly                                                    |
| wrong           | 0.0    | it doesn't, can't be read, is too large to look at, or is a hedge of unequal boxes     |
| no_answer       | 0.0    | no answer outside the reasoning (`extract`)                                            |
| echo            | 0.0    | it is a formula of the prompt and not the gold's own text (`echo`)                     |
| unverifiable | None   | the gold is blank, undefined, too large, or can't be read                              |

What is equal (`equal`); thousands of pairs in `assets/benchmarks/verifier` test it:

| Pair                | Decision                                                                                     |
|---------------------|----------------------------------------------------------------------------------------------|
| numbers             | by exact value, any length: 0.5 = 1/2, 1,234 = 1234, 1.2e3 = 1200; 0.333 is not 1/3          |
| rounding            | a decimal is exactly that decimal: 3.14 is not pi, 0.33 is neither 1/3 nor 0.3333            |
| percent             | 50% = 0.5; 50% = 50 where one sign is missing, but 0.5% is not a gold 0.5 (a proportion)     |
| units               | missing on one side: the number decides; on both: 12 cm = 0.12 m, not 12 m, and 25 C = 77 F; |
|                     | nouns don't count but for opposites: 5 N left is not 5 N right                               |
| degrees             | 90 degrees = 90 = pi/2                                                                       |
| bases               | the same digits, and bases that don't contradict: 101_2 = 101, not 101_3, not 5              |
| sets                | braces, "and", "or", bare commas, plus-minus: order doesn't matter; dots are even steps      |
| tuples              | order matters; (1,2) = <1,2> = a column = "1, 2"                                             |
| braces, commas      | \{1,3\} is a set only, (1,3) a tuple or interval only; 1,3 and bare {1,3}, which prints 1,3,  |
|                     | are either, as the other side needs                                                          |
| decimal commas      | 0,5 and 1000,99 are decimals beside one with a point, else lists; 1,234 is a thousand        |
| intervals           | by value and kind of their ends: [1,2) = 1 <= x < 2 = x in [1,2); unions may hold points;    |
|                     | 50 +- 2 = (48,52)                                                                            |
| inequalities        | up to moved terms and a constant factor; bounded integers are the set of them                |
| solved forms        | of gold x = 3 only x = 3 and 3, never 2x+1 = 7; of x > 3 and (3,oo) never 2x+1 > 7; of a     |
|                     | number no sum or product of numbers left to do: 123*456, 536-859, but 2^{10}, 1.2*10^3       |
| expressions         | equal for all real values of the same variables                                              |
| calculus            | integrals, sums, limits have no value here: as a gold unverifiable, as an answer wrong    |
| congruences         | by their residues: n = 1, 5 mod 6 is n = 6k + 1 or n = 6k - 1                                |
| systems, cases      | all rows, in any order; a system of values = the tuple of them in the order of the names     |
| domains             | "k in Z" may be left out, k may have another name; a contradicting domain is wrong; k + 1 and |
|                     | -k give the same family as k in Z                                                            |
| bound names         | + C = + c, but never left out; C_1 e^x + C_2 = A e^x + B; f(x) = x^2 is f(n) = n^2;          |
|                     | a_n = 2n is a_k = 2k                                                                         |
| equations           | up to a constant factor; x = 3 is 3, y = 2x+1 is 2x+1; y = 3 is not x = 3                    |
| labels              | "Total = 12" is 12, "mean 7, mode 5" is mode = 5, mean = 7, \lim f = 3 is 3; contradicting   |
|                     | ones are wrong                                                                               |
| ratios, times       | 3:4 = 6:8 = 3/4; a time by its minutes: 17:00 = 5 p.m., 5:00 = 5 p.m.                        |
| parts, statements   | (1) 2; (2) 3: by label, else in order; none may be missing; (1)(3)(4) is a list, no product  |
| words               | case, spacing and a final period don't matter; never products of letters; no number words,   |
|                     | but three quarters = 3/4;                                                                    |
|                     | nouns that go without saying may be left out: an equilateral                                 |
|                     | triangle, an exothermic reaction; odd integers are odd numbers, positive ones aren't         |
| statements          | "the series converges" is convergent, "the sum is even" is even                              |
| yes and no          | "Yes, it is possible" is yes, where what follows takes nothing back                          |
| choice letters      | B = (B) = b) = "B. 12" = "Option B is correct."; never the value of a choice; "(B) or (C)"   |
|                     | chooses neither                                                                              |
| sizes               | 20 m by 30 m = 30 m x 20 m, a list; 1s^2 2s^2 2p^6 is compared as it is written              |
| infinity, no answer | infinity has a sign; no solution = the empty set; undefined and the like are words           |
| notation            | what has no value (AB || CD) can't be judged; H_2SO_4 is the word H2SO4                      |
| several boxes       | of a gold: all of them. Of an answer: the last sentence counts; they are a list against a    |
|                     | gold of several values, and wrong, if unequal, against one value                             |
| around a box        | a sign, percent sign, currency or unit in its formula counts                                 |
| a gold at fault     | unverifiable whatever the answer, so that a group is treated alike; so are "proof", "see  |
|                     | solution", null, N/A and the prose of a solution                                             |
| the last line       | without a mark: one formula, bold, or a sentence that states one value, "She has 12 apples." |
| approximations      | of an answer only the exact side counts, of a gold both; more than one sign in it is wrong   |
| an answer too large | wrong                                                                                        |

Path of a pair: `extract` finds the texts, `judge.judge_texts` reads and compares them in process. Every
operation counts its steps (`budget`), so that no pair hangs or fills the memory: nothing needs to be killed, and a
pair gets the same verdict from any thread, process and machine.
"""

from open_r1.rewards.verifier.judge import (
    JudgedAnswer,
    Verdict,
    explain,
    fingerprint_verifier,
    judge_all,
    judge_completion,
    log_verdicts,
    unjudgeable_kind,
    verify,
    verify_all,
)
