"""Cases labelled by hand: the known faults of verifiers, and what models write when they are not sure.

reference ¦ answer ¦ 1 if it is right; a fourth column is the question.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.math_agreement_cases import Case

FAMILIES = {
    "hand: base subscripts": r"""
1011_2 ¦ 1011_{2} ¦ 1
1011_2 ¦ 1011_3 ¦ 0
1011_2 ¦ 1011_{10} ¦ 0
2F_{16} ¦ 2f_{16} ¦ 1
2F_{16} ¦ 2F_{12} ¦ 0
2F_{16} ¦ 0x2F ¦ 1
345_6 ¦ 345_{\text{six}} ¦ 1
345_6 ¦ 345_{7} ¦ 0
345_6 ¦ 345 base 6 ¦ 1
345_6 ¦ $345_6$ ¦ 1
345_6 ¦ \boxed{345_6} ¦ 1
345_6 ¦ (345)_6 ¦ 1
137 ¦ 345_6 ¦ 0
345 ¦ 345_6 ¦ 0
10_{2} ¦ 2 ¦ 0
""",
    "hand: units": r"""
5 cm ¦ 5 mm ¦ 0
5 cm ¦ 5 kg ¦ 0
5 cm ¦ 5 cm^2 ¦ 0
5 cm ¦ 0.05 m ¦ 1
5 cm ¦ 5.0 centimetres ¦ 1
5 cm ¦ 5 ¦ 1
42 m ¦ 42 s ¦ 0
42 m ¦ 42 g ¦ 0
42 m ¦ 42 m ¦ 1
42 s ¦ 42 m ¦ 0
42 s ¦ 42 seconds ¦ 1
42 g ¦ 42 s ¦ 0
42 h ¦ 42 m ¦ 0
42\text{ m} ¦ 42\text{ s} ¦ 0
42\text{ m} ¦ 42\,\text{m} ¦ 1
42\text{ m} ¦ 42 m/s ¦ 0
3 \text{ N} ¦ 3 \text{ J} ¦ 0
3 \text{ N} ¦ 3 N ¦ 1
3 V ¦ 3 A ¦ 0
3 W ¦ 3 kW ¦ 0
3 kW ¦ 3000 W ¦ 1
2 L ¦ 2000 mL ¦ 1
2 L ¦ 2 mL ¦ 0
60 mph ¦ 60 km/h ¦ 0
9.8 m/s^2 ¦ 9.8 m/s ¦ 0
9.8 m/s^2 ¦ 9.8 \text{ m/s}^2 ¦ 1
30 minutes ¦ 30 seconds ¦ 0
30 minutes ¦ 0.5 hours ¦ 1
30 minutes ¦ half an hour ¦ 1
1.5 hours ¦ 1 hour 30 minutes ¦ 1
5 feet 6 inches ¦ 66 inches ¦ 1
20°C ¦ 20°F ¦ 0
20°C ¦ 20 degrees Celsius ¦ 1
90^\circ ¦ 90^{\circ} ¦ 1
90^\circ ¦ 90 rad ¦ 0
12 square feet ¦ 12 ft^2 ¦ 1
12 square feet ¦ 12 feet ¦ 0
7 days ¦ 1 week ¦ 1
7 days ¦ 7 weeks ¦ 0
5% ¦ 5 kg ¦ 0
75% ¦ 75^\circ ¦ 0
30% ¦ 30 minutes ¦ 0
0.5 hours ¦ 50% ¦ 0
5 kg ¦ 5% ¦ 0
30 ¦ 30 minutes ¦ 1 ¦ How many minutes does it take?
30 ¦ 30 seconds ¦ 0 ¦ How many minutes does it take?
30 ¦ 30 min ¦ 1 ¦ How many minutes does it take?
18 ¦ $18 ¦ 1 ¦ How much in dollars does she make?
18 ¦ 18 cents ¦ 0 ¦ How much in dollars does she make?
18 ¦ €18 ¦ 0 ¦ How much does she make, in $?
30 ¦ $30 ¦ 1 ¦ Tom won a prize on the second day. How much is it?
12 ¦ 12 cm ¦ 0 ¦ How long is it in metres?
12 ¦ 12 m ¦ 1 ¦ How long is it in metres?
12 ¦ 12 厘米 ¦ 0 ¦ 它长多少毫米？
12 ¦ 12 毫米 ¦ 1 ¦ 它长多少毫米？
5 apples ¦ 5 oranges ¦ 0 ¦ How many apples does he have? He also has 3 oranges.
5 apples ¦ 5 apples ¦ 1 ¦ How many apples does he have?
""",
    "hand: times and dates": r"""
10:30 ¦ 10:30 ¦ 1
10:30 ¦ 1/3 ¦ 0
10:30 ¦ 10/30 ¦ 0
10:30 ¦ 10.5 ¦ 0
10:30 ¦ 5:15 ¦ 0
10:30 ¦ 10:30 a.m. ¦ 1
10:30 AM ¦ 10:30 ¦ 1
10:30 AM ¦ 22:30 ¦ 0
10:30 PM ¦ 22:30 ¦ 1
1/3 ¦ 10:30 ¦ 0
0.5 ¦ 6:12 ¦ 0
12:00 PM ¦ noon ¦ 1
3:45 pm ¦ 15:45 ¦ 1
3:45 pm ¦ quarter to four ¦ 1
下午3:45 ¦ 15:45 ¦ 1
上午10点30分 ¦ 10:30 AM ¦ 1
2015 ¦ 2024-05-04 ¦ 0
2024-05-04 ¦ 2015 ¦ 0
May 4, 2024 ¦ 04/05/2024 ¦ 0
May 4, 2024 ¦ 05/04/2024 ¦ 1
May 4, 2024 ¦ 4 May 2024 ¦ 1
May 4, 2024 ¦ 2024年5月4日 ¦ 1
May 4 ¦ May 4th ¦ 1
May 4 ¦ 4 May ¦ 1
May 4 ¦ May 5 ¦ 0
Wednesday ¦ Wed. ¦ 1
Wednesday ¦ Tuesday ¦ 0
星期三 ¦ 星期四 ¦ 0
""",
    "hand: not the answer": r"""
42 ¦ not 42 ¦ 0
42 ¦ Not 42. ¦ 0
42 ¦ the answer is not 42 ¦ 0
42 ¦ it's not 42 ¦ 0
42 ¦ it isn't 42 ¦ 0
42 ¦ cannot be 42 ¦ 0
42 ¦ can't be 42 ¦ 0
42 ¦ never 42 ¦ 0
42 ¦ anything except 42 ¦ 0
42 ¦ all but 42 ¦ 0
42 ¦ no 42 ¦ 0
42 ¦ wrong: 42 ¦ 0
42 ¦ 42 (incorrect) ¦ 0
42 ¦ 42 - no ¦ 0
42 ¦ 42 is false ¦ 0
42 ¦ \neg 42 ¦ 0
42 ¦ \lnot 42 ¦ 0
42 ¦ \cancel{42} ¦ 0
42 ¦ \sout{42} 43 ¦ 0
42 ¦ ~~42~~ 43 ¦ 0
42 ¦ 42 → 43 ¦ 0
42 ¦ 42 \to 43 ¦ 0
42 ¦ 42 \Rightarrow 43 ¦ 0
42 ¦ 43 (was 42) ¦ 0
42 ¦ 43, not 42 ¦ 0
42 ¦ 42, not 43 ¦ 0
42 ¦ ≠42 ¦ 0
42 ¦ x \ne 42 ¦ 0
42 ¦ 不是42 ¦ 0
42 ¦ 不等于42 ¦ 0
42 ¦ 绝不是42 ¦ 0
42 ¦ 除了42 ¦ 0
""",
    "hand: hedges": r"""
42 ¦ 42 or 43 ¦ 0
42 ¦ 42/43 ¦ 0
42 ¦ 42 (or 43) ¦ 0
42 ¦ 42, possibly 43 ¦ 0
42 ¦ Either 42 or -42 ¦ 0
42 ¦ 42 if x is positive, 43 otherwise ¦ 0
42 ¦ 41, 42, 43 ¦ 0
42 ¦ {41, 42, 43} ¦ 0
42 ¦ 41-43 ¦ 0
42 ¦ 41 to 43 ¦ 0
42 ¦ between 41 and 43 ¦ 0
42 ¦ 42 ± 1 ¦ 0
42 ¦ ±42 ¦ 0
42 ¦ \{x \mid x = 42 \lor x = 43\} ¦ 0
42 ¦ \boxed{42}\boxed{43} ¦ 0
42 ¦ \boxed{41} \boxed{42} \boxed{43} ¦ 0
42 ¦ \boxed{42} or \boxed{43} ¦ 0
42 ¦ \boxed{43}, or \boxed {42} ¦ 0
42 ¦ \boxed{42 \text{ or } 43} ¦ 0
42 ¦ \boxed{42} (maybe) ¦ 0
42 ¦ The answer might be \boxed{42} ¦ 0
42 ¦ I am not sure, \boxed{42} ¦ 0
42 ¦ 42 I guess ¦ 0
42 ¦ my guess is 42 ¦ 0
42 ¦ probably 42 ¦ 0
42 ¦ 42, probably ¦ 0
42 ¦ 42 (approximately) ¦ 0
42 ¦ approx. 42 ¦ 0
42 ¦ close to 42 ¦ 0
42 ¦ nearly 42 ¦ 0
42 ¦ at least 42 ¦ 0
42 ¦ no more than 42 ¦ 0
42 ¦ 42+ ¦ 0
42 ¦ ≥ 42 ¦ 0
42 ¦ 42 < x ¦ 0
42 ¦ 42或43 ¦ 0
42 ¦ 42、43 ¦ 0
42 ¦ 42还是43 ¦ 0
42 ¦ 也许42 ¦ 0
42 ¦ 大概42 ¦ 0
A ¦ A or B ¦ 0
A ¦ A, B ¦ 0
A ¦ AB ¦ 0
A ¦ A/B ¦ 0
A ¦ not A ¦ 0
A ¦ A? ¦ 0
A ¦ (A) and (C) ¦ 0
yes ¦ yes and no ¦ 0
yes ¦ yes/no ¦ 0
yes ¦ not yes ¦ 0
Paris ¦ Paris or London ¦ 0
Paris ¦ Paris, London ¦ 0
""",
    "hand: junk after a number": r"""
42 ¦ 42 🙂 ¦ 0
42 ¦ 42abc ¦ 0
42 ¦ 42 banana ¦ 0
42 ¦ 42 bananas and 7 apples ¦ 0
42 ¦ 42\u200b ¦ 0
42 ¦ 42 lorem ipsum ¦ 0
42 ¦ 42 because I said so ¦ 0
42 ¦ 42 but wait ¦ 0
42 ¦ 42</answer ¦ 0
42 ¦ 42 <answer>43 ¦ 0
42 ¦ 42*** ¦ 0
42 ¦ 42 % of 100 ¦ 0
42 ¦ 42 of 100 ¦ 0
42 ¦ 42nd ¦ 0
42 ¦ 42!! ¦ 0
42 ¦ 42'' ¦ 0
42 ¦ 42° ¦ 1
42 ¦ 42٣ ¦ 0
42 ¦ 4２ ¦ 1
42 ¦ 42₂ ¦ 0
42 ¦ 42² ¦ 0
42 ¦ 42^2 ¦ 0
42 ¦ 42e2 ¦ 0
42 ¦ 0x42 ¦ 0
42 ¦ 42.5 ¦ 0
42 ¦ 42,5 ¦ 0
42 ¦ 42:00 ¦ 0
42 ¦ #42 ¦ 0
42 ¦ No. 42 ¦ 0
42 ¦ Question 42 ¦ 0
42 ¦ item 42 ¦ 0
42 ¦ \text{The answer is } 42 ¦ 1
42 ¦ The answer is $\boxed{42}$. ¦ 1
42 ¦ 42 = 42 ¦ 1
42 ¦ n = 42 ¦ 1
42 ¦ Total: 42 ¦ 1
42 ¦ **Final Answer: 42** ¦ 1
42 ¦ <b>42</b> ¦ 0
""",
    "hand: Chinese": r"""
42 ¦ 42个 ¦ 1
42 ¦ 四十二 ¦ 1
42 ¦ 答案为42 ¦ 1
42 ¦ 答案是 $42$。 ¦ 1
42 ¦ 所以答案是：**42** ¦ 1
5米 ¦ 5厘米 ¦ 0
5米 ¦ 500厘米 ¦ 1
5米 ¦ 5 ¦ 1
5米 ¦ 五米 ¦ 1
5千克 ¦ 5公斤 ¦ 1
5千克 ¦ 5克 ¦ 0
5元 ¦ 5角 ¦ 0
5元 ¦ ¥5 ¦ 1
5元 ¦ $5 ¦ 0
12人 ¦ 12名 ¦ 1
3小时 ¦ 3分钟 ¦ 0
30% ¦ 百分之三十 ¦ 1
1/4 ¦ 四分之一 ¦ 1
3/4 ¦ 四分之一 ¦ 0
1万 ¦ 10000 ¦ 1
1.5万 ¦ 15000 ¦ 1
2亿 ¦ 200000000 ¦ 1
一百零五 ¦ 105 ¦ 1
一百零五 ¦ 150 ¦ 0
十二 ¦ 12 ¦ 1
二十 ¦ 12 ¦ 0
正确 ¦ 对 ¦ 1
正确 ¦ 错误 ¦ 0
甲 ¦ 乙 ¦ 0
甲 ¦ 甲 ¦ 1
60公里/小时 ¦ 60 km/h ¦ 1
60公里/小时 ¦ 60 m/s ¦ 0
8平方米 ¦ 8米 ¦ 0
""",
    "hand: boxes": r"""
42 ¦ \boxed {42} ¦ 1
42 ¦ \boxed  { 42 } ¦ 1
42 ¦ \boxed{{42}} ¦ 1
42 ¦ \boxed{$42$} ¦ 1
42 ¦ $$\boxed{42}$$ ¦ 1
42 ¦ \[ \boxed{42} \] ¦ 1
42 ¦ \boxed{\text{42}} ¦ 1
42 ¦ \boxed{\mathbf{42}} ¦ 1
42 ¦ \fbox{42} ¦ 1
42 ¦ \boxed{42.} ¦ 1
42 ¦ \boxed{x = 42} ¦ 1
42 ¦ \boxed{42 ¦ 0
42 ¦ \boxed{} ¦ 0
42 ¦ \boxed{43} 42 ¦ 0
\frac{1}{2} ¦ \boxed {\frac{1}{2}} ¦ 1
\frac{1}{2} ¦ \boxed{\dfrac{1}{2}} ¦ 1
\{1,2\} ¦ \boxed{\{1, 2\}} ¦ 1
""",
    "hand: inequalities and intervals": r"""
(2, \infty) ¦ x > 2 ¦ 1
(2, \infty) ¦ x \geq 2 ¦ 0
[2, \infty) ¦ x > 2 ¦ 0
(2, \infty) ¦ 2 < x ¦ 1
(2, \infty) ¦ x < 2 ¦ 0
(2, \infty) ¦ (2, +\infty) ¦ 1
(2, \infty) ¦ ]2, \infty[ ¦ 1
(-1, 3] ¦ -1 < x \le 3 ¦ 1
(-1, 3] ¦ -1 \le x \le 3 ¦ 0
(-1, 3] ¦ -1 < x < 3 ¦ 0
(-1, 3] ¦ x \in (-1, 3] ¦ 1
(-1, 3] ¦ 3 \ge x > -1 ¦ 1
(-1, 3] ¦ (-1, 3) ¦ 0
(-1, 3] ¦ \{-1, 3\} ¦ 0
(-1, 3] ¦ -1, 3 ¦ 0
(-1, 3] ¦ \{x : -1 < x \le 3\} ¦ 1
(-1, 3] ¦ \{x \in \mathbb{R} \mid -1 < x \leq 3\} ¦ 1
(-1, 3) ¦ |x - 1| < 2 ¦ 1
x > 5 ¦ x \ge 5 ¦ 0
x > 5 ¦ y > 5 ¦ 0
x > 5 ¦ 5 ¦ 0
x > 5 ¦ x = 5 ¦ 0
5 ¦ x > 5 ¦ 0
x \neq 3 ¦ (-\infty, 3) \cup (3, \infty) ¦ 1
(-\infty, 0) \cup (0, \infty) ¦ x \neq 0 ¦ 1
(-\infty, 1) \cup (2, \infty) ¦ x < 1 \text{ or } x > 2 ¦ 1
(-\infty, 1) \cup (2, \infty) ¦ x < 1 \text{ and } x > 2 ¦ 0
(-\infty, 1] \cup (2, \infty) ¦ x < 1 \text{ or } x > 2 ¦ 0
[1, 2] ¦ [1, 2) ¦ 0
[1, 2] ¦ (1, 2) ¦ 0
(1, 2) ¦ [1, 2] ¦ 0
[1, 2] ¦ [2, 1] ¦ 0
""",
    "hand: percent and money": r"""
25% ¦ 0.25 ¦ 1
25% ¦ \frac{1}{4} ¦ 1
25% ¦ 25 ¦ 1
25% ¦ 25 percent ¦ 1
25% ¦ 2.5% ¦ 0
25% ¦ 0.25% ¦ 0
25% ¦ 25 per mille ¦ 0
1/4 ¦ 25% ¦ 1
0.25 ¦ 25% ¦ 1
25 ¦ 25% ¦ 0
2 ¦ 200% ¦ 1
200% ¦ 2 ¦ 1
33\frac{1}{3}\% ¦ 1/3 ¦ 1
33\frac{1}{3}\% ¦ 33.3% ¦ 0
12.5% ¦ 1/8 ¦ 1
$1,234.50 ¦ 1234.5 ¦ 1
$1,234.50 ¦ \$1234.50 ¦ 1
$1,234.50 ¦ 1234.50 dollars ¦ 1
$1,234.50 ¦ €1234.50 ¦ 0
$1,234.50 ¦ $1,234.05 ¦ 0
$0.75 ¦ 75 cents ¦ 1
$0.75 ¦ 75¢ ¦ 1
$0.75 ¦ 75 ¦ 0
$5 ¦ 5 bucks ¦ 1
$5 million ¦ $5,000,000 ¦ 1
$5 ¦ 5 pounds ¦ 0
£5 ¦ 5 pounds ¦ 1
5 pounds ¦ 5 lb ¦ 1
5 pounds ¦ 5 kg ¦ 0
""",
    "hand: numbers": r"""
1,000,000 ¦ 1000000 ¦ 1
1,000,000 ¦ 10^6 ¦ 1
1,000,000 ¦ 1.000.000 ¦ 1
1,000,000 ¦ one million ¦ 1
1.5 ¦ 1,5 ¦ 0
1/3 ¦ 0.333 ¦ 0
1/3 ¦ 0.3333333 ¦ 1
0.333 ¦ 1/3 ¦ 0
2/3 ¦ 0.67 ¦ 0
3.14 ¦ \pi ¦ 0
\pi ¦ 3.14 ¦ 0
\sqrt{2} ¦ 1.414 ¦ 0
\sqrt{2} ¦ 1.41421356 ¦ 1
1\frac{3}{4} ¦ 7/4 ¦ 1
1\frac{3}{4} ¦ 1.75 ¦ 1
1\frac{3}{4} ¦ \frac{13}{4} ¦ 0
1\frac{3}{4} ¦ 1 \cdot \frac{3}{4} ¦ 0
-\frac{3}{4} ¦ \frac{-3}{4} ¦ 1
-\frac{3}{4} ¦ \frac{3}{-4} ¦ 1
-\frac{3}{4} ¦ \frac{3}{4} ¦ 0
0 ¦ -0 ¦ 1
0 ¦ 0.00 ¦ 1
0 ¦ \emptyset ¦ 0
0 ¦ none ¦ 0
100 ¦ 1e2 ¦ 1
100 ¦ 10^2 ¦ 1
100 ¦ 10^3 ¦ 0
12 ¦ a dozen ¦ 0
seven ¦ 7 ¦ 1
one hundred twenty-three ¦ 123 ¦ 1
2^{31}-1 ¦ 2147483647 ¦ 1
2^{31}-1 ¦ 2147483648 ¦ 0
10! ¦ 3628800 ¦ 1
\binom{10}{3} ¦ 120 ¦ 1
\log_2 1024 ¦ 10 ¦ 1
e^{\ln 5} ¦ 5 ¦ 1
\frac{22}{7} ¦ \pi ¦ 0
\lfloor 7/2 \rfloor ¦ 3 ¦ 1
\infty ¦ infinity ¦ 1
\infty ¦ -\infty ¦ 0
""",
    "hand: algebra": r"""
x^2 - 4 ¦ (x-2)(x+2) ¦ 1
x^2 - 4 ¦ (x-2)^2 ¦ 0
(x+1)^3 ¦ x^3+3x^2+3x+1 ¦ 1
y = 2x + 3 ¦ y - 3 = 2x ¦ 1
y = 2x + 3 ¦ y = 2x - 3 ¦ 0
\frac{x}{x+1} ¦ 1 - \frac{1}{x+1} ¦ 1
\sin(2x) ¦ 2\sin x\cos x ¦ 1
\sin(2x) ¦ 2\sin x ¦ 0
\ln(x^2) ¦ 2\ln x ¦ 0
\sqrt{x^2} ¦ x ¦ 0
e^{x}e^{y} ¦ e^{x+y} ¦ 1
3x ¦ 3 \cdot x ¦ 1
3x ¦ x3 ¦ 0
2^{n+1} ¦ 2 \cdot 2^n ¦ 1
2^{n+1} ¦ 2^n + 1 ¦ 0
n(n+1)/2 ¦ \frac{n^2+n}{2} ¦ 1
a^2+b^2 ¦ (a+b)^2 ¦ 0
x=3, y=4 ¦ (3,4) ¦ 1
x=3, y=4 ¦ x=4, y=3 ¦ 0
x=3, y=4 ¦ y=4, x=3 ¦ 1
x=3 ¦ 3 ¦ 1
x=3 ¦ y=3 ¦ 0
x=\pm 3 ¦ 3, -3 ¦ 1
x=\pm 3 ¦ 3 ¦ 0
2+3i ¦ 3i+2 ¦ 1
2+3i ¦ 2-3i ¦ 0
2+3i ¦ (2,3) ¦ 0
""",
    "hand: groups": r"""
(1, 2) ¦ (2, 1) ¦ 0
\{1, 2\} ¦ \{2, 1\} ¦ 1
\{1, 2\} ¦ \{1, 2, 2\} ¦ 1
\{1, 2\} ¦ \{1, 3\} ¦ 0
1, 2 ¦ 2, 1 ¦ 1
1, 2 ¦ 1 ¦ 0
1, 2 ¦ 1, 2, 3 ¦ 0
1, 2 ¦ 1 and 2 ¦ 1
1, 2 ¦ 1 or 2 ¦ 1
1, 2 ¦ \{1, 2\} ¦ 1
1, 2 ¦ 12 ¦ 0
(1, 2, 3) ¦ \langle 1, 2, 3 \rangle ¦ 1
(1, 2, 3) ¦ \begin{pmatrix} 1 \\ 2 \\ 3 \end{pmatrix} ¦ 1
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ¦ \begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix} ¦ 0
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ¦ \begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix} ¦ 0
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ¦ [[1, 2], [3, 4]] ¦ 1
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ¦ [[1, 3], [2, 4]] ¦ 0
\emptyset ¦ \varnothing ¦ 1
\emptyset ¦ \{0\} ¦ 0
\emptyset ¦ no solution ¦ 0
\mathbb{R} ¦ (-\infty, \infty) ¦ 1
2:3 ¦ 2 to 3 ¦ 1
2:3 ¦ 3:2 ¦ 0
2:3 ¦ 2/3 ¦ 0
""",
    "hand: echo": r"""
42 ¦ 17 + 25 ¦ 0 ¦ What is 17 + 25?
42 ¦ $17+25$ ¦ 0 ¦ What is 17 + 25?
42 ¦ 25 + 17 ¦ 0 ¦ What is 17 + 25?
42 ¦ 17 + 25 = 42 ¦ 1 ¦ What is 17 + 25?
42 ¦ What is 17 + 25? ¦ 0 ¦ What is 17 + 25?
42 ¦ (17+25) ¦ 0 ¦ What is 17 + 25?
42 ¦ 17 - (-25) ¦ 0 ¦ What is 17 + 25?
1/2 ¦ 4/8 ¦ 0 ¦ Simplify 4/8.
1/2 ¦ \frac{4}{8} ¦ 0 ¦ Simplify 4/8.
1/2 ¦ 1/2 ¦ 1 ¦ Simplify 4/8.
1/2 ¦ 0.5 ¦ 1 ¦ Simplify 4/8.
(x-1)(x+1) ¦ x^2-1 ¦ 0 ¦ Factor $x^2-1$.
x^2-1 ¦ (x-1)(x+1) ¦ 0 ¦ Expand $(x-1)(x+1)$.
2\sqrt{2} ¦ \sqrt{8} ¦ 0 ¦ Simplify $\sqrt{8}$.
2\sqrt{2} ¦ 2\sqrt{2} ¦ 1 ¦ Simplify $\sqrt{8}$.
2500 m ¦ 2.5 km ¦ 0 ¦ Convert 2.5 km to metres.
2500 m ¦ 2500 m ¦ 1 ¦ Convert 2.5 km to metres.
25% ¦ 1/4 ¦ 0 ¦ Write 1/4 as a percentage.
25% ¦ 25% ¦ 1 ¦ Write 1/4 as a percentage.
5 ¦ 5 ¦ 1 ¦ Which is larger, 3 or 5?
7 ¦ 7 ¦ 1 ¦ Is 7 or 9 prime?
120 ¦ 5! ¦ 0 ¦ What is 5!?
8 ¦ 2^3 ¦ 0 ¦ Compute 2^3.
8 ¦ 2^3 = 8 ¦ 1 ¦ Compute 2^3.
3 ¦ \sqrt{9} ¦ 0 ¦ What is \sqrt{9}?
6.25 ¦ 2.5^2 ¦ 0 ¦ What is 2.5 squared?
""",
    "hand: assorted": r"""
5 ¦ 5 \pmod 7 ¦ 0
x \equiv 5 \pmod{7} ¦ x \equiv 5 \pmod 7 ¦ 1
5 \pmod 7 ¦ 5 \pmod{7} ¦ 1
5 \pmod 7 ¦ 5 \pmod{8} ¦ 0
5 ¦ __import__('os').system('echo 5') ¦ 0
5 ¦ eval('5') ¦ 0
5 ¦ int('5') ¦ 0
5 ¦ Integer(5) ¦ 0
5 ¦ 1/0 ¦ 0
5 ¦ 0/0 ¦ 0
0 ¦ 0/5 ¦ 1
0 ¦ O ¦ 0
0 ¦ zero ¦ 1
0 ¦ null ¦ 0
0 ¦ {} ¦ 0
3 cups ¦ 3 ¦ 1
3 cups ¦ 3 cups ¦ 1
3/4 cup ¦ 0.75 cups ¦ 1
3 cups ¦ 3 spoons ¦ 0
5 \text{ apples} ¦ 5 ¦ 1
$10.50 ¦ 10 dollars and 50 cents ¦ 1
$10.50 ¦ 10 dollars and 5 cents ¦ 0
2.25 hours ¦ 2 hours 15 min ¦ 1
2.25 hours ¦ 2 hours and 25 minutes ¦ 0
135 minutes ¦ 2 h 15 min ¦ 1
1200 ¦ 1.2 × 10^3 ¦ 1
1200 ¦ 1.2*10**3 ¦ 1
1200 ¦ 1.2E+3 ¦ 1
1200 ¦ 1.2e+03 ¦ 1
300000000 m/s ¦ 3.0 × 10⁸ m/s ¦ 1
3e8 m/s ¦ 3\times10^8\text{ m/s} ¦ 1
3e8 m/s ¦ 3\times10^9\text{ m/s} ¦ 0
i\sqrt{3} ¦ \sqrt{3}i ¦ 1
\frac{\sqrt{3}}{2} ¦ \sin 60^\circ ¦ 1
f(x)=x^2+1 ¦ x^2+1 ¦ 1
x^2 + C ¦ x^2 + C ¦ 1
x^2 + C ¦ x^2 + c ¦ 1
x^2 + C ¦ x^2 ¦ 0
\log_{10} 2 ¦ \log 2 ¦ 1
2^{100} ¦ 1267650600228229401496703205376 ¦ 1
2^{100} ¦ 1267650600228229401496703205377 ¦ 0
0.007 ¦ 7 \times 10^{-3} ¦ 1
72 ¦ 2^3 \cdot 3^2 ¦ 1
2^3 \cdot 3^2 ¦ 72 ¦ 1
x=3 ¦ 3 = x ¦ 1
1/3 ¦ 0.333... ¦ 1
1/3 ¦ 0.\dot{3} ¦ 1
1/7 ¦ 0.142857142857... ¦ 1
1/3 ¦ 0.3\overline{3} ¦ 1
7/2 ¦ 三又二分之一 ¦ 1
-3 ¦ 负三 ¦ 1
0.5 ¦ 零点五 ¦ 1
12.5% ¦ 百分之十二点五 ¦ 1
200 ¦ 两百 ¦ 1
1230000 ¦ 一百二十三万 ¦ 1
3.5小时 ¦ 3个半小时 ¦ 1
3 ¦ 答：3个苹果 ¦ 1
-5°C ¦ -5 degrees Celsius ¦ 1
-5°C ¦ 5°C ¦ 0
(3,4) ¦ x=3, y=4 ¦ 1
(3,4) ¦ 3, 4 ¦ 1
(3,4) ¦ 4, 3 ¦ 0
(3,4) ¦ 34 ¦ 0
\sqrt{50} ¦ 5\sqrt{2} ¦ 1
\sqrt{50} ¦ 5 \sqrt 2 ¦ 1
\sqrt{50} ¦ 5√2 ¦ 1
\frac{1}{2} ¦ \frac{1}{2}x ¦ 0
\frac{1}{2} ¦ 1 / 2 ¦ 1
\frac{1}{2} ¦ 1÷2 ¦ 1
\frac{1}{2} ¦ one half ¦ 1
\frac{1}{2} ¦ half ¦ 1
\frac{3}{4} ¦ three quarters ¦ 1
\frac{3}{4} ¦ three-fourths ¦ 1
\frac{2}{3} ¦ two thirds ¦ 1
\frac{2}{3} ¦ two-thirds ¦ 1
\frac{2}{3} ¦ one third ¦ 0
5 ¦ five ¦ 1
5 ¦ Five. ¦ 1
5 ¦ V ¦ 0
12 ¦ 12. ¦ 1
12 ¦ 12.0 cm ¦ 1
1/2 ¦ 1:2 ¦ 0
1:2 ¦ 1/2 ¦ 0
50% ¦ 1:2 ¦ 0
0.5 ¦ 1/2 ¦ 1
10 ¦ 10 % ¦ 0
10 ¦ ten percent ¦ 0
10% ¦ ten percent ¦ 1
x+1 ¦ 1+x ¦ 1
x+1 ¦ x + 1 = 0 ¦ 0
x=2 ¦ x=2.0 ¦ 1
x<3 ¦ x < 3.0 ¦ 1
y=x ¦ x=y ¦ 1
2x+3y=6 ¦ y = 2 - \frac{2}{3}x ¦ 1
2x+3y=6 ¦ y = 2 + \frac{2}{3}x ¦ 0
a_1 ¦ a_2 ¦ 0
a_{n} = 2n ¦ 2n ¦ 1
\text{(A) } 5 ¦ A ¦ 1
\text{(A) } 5 ¦ 5 ¦ 1
A ¦ A. 5 ¦ 0
A ¦ (A) 5 ¦ 0
Alice and Bob ¦ Bob and Alice ¦ 1
Alice, Bob ¦ Alice ¦ 0
red ¦ Red ¦ 1
red ¦ dark red ¦ 0
3\frac{1}{2} ¦ 3.5 ¦ 1
3\frac{1}{2} ¦ 3 + \frac{1}{2} ¦ 1
-1 ¦ \cos\pi ¦ 1
\frac{\pi}{6} ¦ 30^\circ ¦ 0
30^\circ ¦ \frac{\pi}{6} ¦ 0
6\text{ cm}^2 ¦ 6\text{ cm}^{2} ¦ 1
6\text{ cm}^2 ¦ 6cm² ¦ 1
6\text{ cm}^2 ¦ 6 sq cm ¦ 1
6\text{ cm}^2 ¦ 6 square cm ¦ 1
6\text{ cm}^2 ¦ 6\text{ cm}^3 ¦ 0
6 cubic feet ¦ 6 ft³ ¦ 1
55 mph ¦ 55 miles/hour ¦ 1
55 mph ¦ 55 ¦ 1
10 N ¦ 10 kg·m/s^2 ¦ 1
1 kWh ¦ 3.6 MJ ¦ 1
1,234 ¦ 1 234 ¦ 1
1,234 ¦ 1.234 ¦ 0
1,234 ¦ 12,34 ¦ 0
1,234 ¦ 1234.0 ¦ 1
-5 ¦ minus 5 ¦ 1
-5 ¦ negative 5 ¦ 1
-5 ¦ negative five ¦ 1
-5 ¦ (-5) ¦ 1
-5 ¦ - 5 ¦ 1
-5 ¦ –5 ¦ 1
-5 ¦ ( - 5 ) ¦ 1
2^{-3} ¦ 1/8 ¦ 1
\frac{1}{2^3} ¦ 0.125 ¦ 1
\tfrac{7}{12} ¦ 7/12 ¦ 1
p \approx 0.35 ¦ 0.35 ¦ 1
0.35 ¦ \approx 0.35 ¦ 1
0.35 ¦ 0.354 ¦ 0
0.35 ¦ 0.35 \pm 0.01 ¦ 0
December 25 ¦ 12/25 ¦ 0
1/2 ¦ 1/2/2 ¦ 0
12:30 ¦ 12:30:00 ¦ 1
7 p.m. ¦ 19:00 ¦ 1
7 p.m. ¦ 7 a.m. ¦ 0
7 p.m. ¦ 7 ¦ 0
7 o'clock ¦ 7:00 ¦ 1
Monday ¦ monday. ¦ 1
3 ¦ 3 \text{ (since } x>0) ¦ 0
3 ¦ x = 3 (as required) ¦ 0
3 ¦ 3, as required ¦ 0
3 ¦ 3 \quad \blacksquare ¦ 0
3 ¦ \$3 ¦ 1
3 ¦ \3 ¦ 0
3 ¦ "3" ¦ 1
3 ¦ '3' ¦ 0
3 ¦ [3] ¦ 0
3 ¦ {3} ¦ 1
3 ¦ \{3\} ¦ 1
\{3\} ¦ 3 ¦ 1
3 ¦ (3,) ¦ 0
3 ¦ <3> ¦ 0
3 ¦ |3| ¦ 1
3 ¦ 3|4 ¦ 0
3 ¦ 3 \\ 4 ¦ 0
3 ¦ 3 & 4 ¦ 0
3 ¦ 3\text{ or }4 ¦ 0
3 ¦ \text{3 or 4} ¦ 0
3 ¦ 3 \vee 4 ¦ 0
3 ¦ 3\lor4 ¦ 0
3 ¦ \max(3, 4) ¦ 0
3 ¦ \min(3, 4) ¦ 1
3 ¦ 3 \text{ but not } 4 ¦ 0
3 ¦ 3 \ne 4 ¦ 0
3 ¦ 3 \to 4 ¦ 0
3 ¦ 3!=4 ¦ 0
6 ¦ 3! ¦ 1
3 ¦ 3 if n even ¦ 0
3 ¦ \begin{cases} 3 & n \text{ even} \\ 4 & n \text{ odd} \end{cases} ¦ 0
\begin{cases} 3 & x>0 \\ 4 & x \le 0 \end{cases} ¦ \begin{cases} 3 & x>0 \\ 4 & x \le 0 \end{cases} ¦ 1
n ¦ N ¦ 0
10^{10^{10}} ¦ 10^{10^{10}}+1 ¦ 0
\frac{1}{0} ¦ \frac{2}{0} ¦ 0
\infty ¦ \frac{1}{0} ¦ 0
\text{undefined} ¦ undefined ¦ 1
\text{DNE} ¦ does not exist ¦ 1
(0, 1) ¦ (0.0, 1.0) ¦ 1
(0, 1) ¦ 0 < x < 1 ¦ 1
(0, 1) ¦ 0 < y < 1 ¦ 1
-2 < x < 3 ¦ (-2,3) ¦ 1
-2 < x < 3 ¦ -2<t<3 ¦ 0
x \in \{1, 2\} ¦ \{1,2\} ¦ 1
x \in \{1, 2\} ¦ x=1,2 ¦ 1
x = 1, 2 ¦ 1, 2 ¦ 1
x = 1, 2 ¦ x = 1 or x = 2 ¦ 1
x = 1, 2 ¦ x=1 ¦ 0
""",
}


def hand() -> Iterator[Case]:
    """Yield all cases labelled by hand."""
    for family, table in FAMILIES.items():
        for line in table.strip().splitlines():
            reference, answer, right, *question = line.split(" ¦ ")
            answer = answer.replace("\\u200b", "\u200b1" if family.endswith("a number") else "")
            yield Case(family, reference, answer, right == "1", question[0] if question else "")
