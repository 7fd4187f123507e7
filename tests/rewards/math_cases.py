"""Cases of reference, answer part and whether they are the same answer; used by test_math_accuracy.py."""

# reference ¦ answer ¦ 1 if it is right
TABLE = r"""
42 ¦ 42 ¦ 1
42 ¦ 43 ¦ 0
42 ¦ 42.0 ¦ 1
1/2 ¦ 0.5 ¦ 1
1/2 ¦ \frac{1}{2} ¦ 1
\frac12 ¦ 1/2 ¦ 1
1/3 ¦ 0.333333 ¦ 1
1/3 ¦ 0.33 ¦ 0
25% ¦ 1/4 ¦ 1
25% ¦ 0.25 ¦ 1
25% ¦ 25 ¦ 1
1/4 ¦ 25\% ¦ 1
1,234 ¦ 1234 ¦ 1
1234 ¦ 1{,}234 ¦ 1
1234 ¦ 1\,234 ¦ 1
(0,1) ¦ [0,1] ¦ 0
[0,1) ¦ [0,1) ¦ 1
(0,1) ¦ (0,1) ¦ 1
x>2 ¦ (2,\infty) ¦ 1
(2,\infty) ¦ x > 2 ¦ 1
(2,\infty) ¦ x \ge 2 ¦ 0
[1,3) ¦ 1 \le x < 3 ¦ 1
(-\infty,1)\cup(2,\infty) ¦ (2,\infty) \cup (-\infty,1) ¦ 1
\{1,2\} ¦ \{2,1\} ¦ 1
\{1,2\} ¦ 1, 2 ¦ 1
1, 2 ¦ 2 and 1 ¦ 1
1 ¦ 1 or 2 ¦ 0
42 ¦ 42 or 43 ¦ 0
42 ¦ 42, 43 ¦ 0
42 ¦ not 42 ¦ 0
42 ¦ \neq 42 ¦ 0
42 ¦ 42 is wrong ¦ 0
(1,2) ¦ (2,1) ¦ 0
1\frac{1}{2} ¦ 3/2 ¦ 1
1.5 ¦ 1 1/2 ¦ 1
90 ¦ 90^\circ ¦ 1
90^\circ ¦ 90 ¦ 1
90^\circ ¦ 90 degrees ¦ 1
5 cm ¦ 5\text{ cm} ¦ 1
5 cm ¦ 5 ¦ 1
5 cm ¦ 5 m ¦ 0
100 cm ¦ 1 m ¦ 1
5 ¦ 5 cm ¦ 1
1010_2 ¦ 1010_{2} ¦ 1
1010_2 ¦ 1010_3 ¦ 0
10 ¦ 1010_2 ¦ 0
101_2 ¦ 5 ¦ 0
5 km/h ¦ 5 kilometers per hour ¦ 1
12 m^2 ¦ 12 square meters ¦ 1
12 m^2 ¦ 12 m ¦ 0
$5 ¦ 5 dollars ¦ 1
$5 ¦ €5 ¦ 0
5 ¦ $5.00 ¦ 1
$1234.50 ¦ \$1,234.50 ¦ 1
10:30 ¦ 10:30 ¦ 1
10:30 ¦ 1/3 ¦ 0
1/3 ¦ 10:30 ¦ 0
10:30 AM ¦ 10:30 PM ¦ 0
22:30 ¦ 10:30 PM ¦ 1
2024-01-15 ¦ January 15, 2024 ¦ 1
2008 ¦ 2024-01-15 ¦ 0
2024-01-15 ¦ 2008 ¦ 0
5 ¦ 5米 ¦ 1
5米 ¦ 5厘米 ¦ 0
5米 ¦ 5 m ¦ 1
42 ¦ 四十二 ¦ 1
是 ¦ 是 ¦ 1
Yes ¦ yes ¦ 1
even ¦ \text{Even} ¦ 1
no ¦ yes ¦ 0
x=5 ¦ 5 ¦ 1
5 ¦ x=5 ¦ 1
x=5 ¦ y=5 ¦ 0
x^2+2x+1 ¦ (x+1)^2 ¦ 1
x^2+2x+1 ¦ x^2+2x ¦ 0
\sqrt{2} ¦ 2^{1/2} ¦ 1
\frac{\sqrt{3}}{3} ¦ \frac{1}{\sqrt{3}} ¦ 1
\pi/2 ¦ \frac{\pi}{2} ¦ 1
2\pi ¦ 6.283185 ¦ 1
2\pi ¦ 6.28 ¦ 0
\begin{pmatrix}1&2\\3&4\end{pmatrix} ¦ \begin{bmatrix}1 & 2 \\ 3 & 4\end{bmatrix} ¦ 1
\begin{pmatrix}1&2\\3&4\end{pmatrix} ¦ \begin{pmatrix}1&2\\3&5\end{pmatrix} ¦ 0
\pm 2 ¦ 2, -2 ¦ 1
2 ¦ \pm 2 ¦ 0
y = 2x+1 ¦ 2x - y + 1 = 0 ¦ 1
5 ¦ 2+3=5 ¦ 1
42 ¦ 41=42 ¦ 0
6.02 \times 10^{23} ¦ 6.02e23 ¦ 1
300000 ¦ 3 \times 10^5 ¦ 1
10^{10^{10}} ¦ 10^{10^{10}} ¦ 1
10 ¦ 10^{10^{10}} ¦ 0
1024 ¦ 2^{10} ¦ 1
0.\overline{3} ¦ 1/3 ¦ 1
2:3 ¦ 4:6 ¦ 1
2:3 ¦ 2/3 ¦ 0
1/2 ¦ ½ ¦ 1
52 ¦ 5² ¦ 0
25 ¦ 5² ¦ 1
12 ¦ １２ ¦ 1
42 ¦ ٤٢ ¦ 0
5 ¦ 5 apples ¦ 0
The answer ¦ 42 ¦ 0
42 ¦ The answer is 42. ¦ 1
42 ¦ 答案是42 ¦ 1
42 ¦ **42** ¦ 1
42 ¦ \boxed{42} ¦ 1
42 ¦ $42$ ¦ 1
42 ¦ 42! ¦ 0
120 ¦ 5! ¦ 1
C ¦ \text{C} ¦ 1
(C) ¦ C ¦ 1
e^{i\pi} ¦ -1 ¦ 1
\ln 2 ¦ \log 2 ¦ 0
\frac{x+1}{x-1} ¦ (x+1)/(x-1) ¦ 1
3\sqrt{2}+1 ¦ 1+3\sqrt2 ¦ 1
-1 ¦ −1 ¦ 1
\infty ¦ -\infty ¦ 0
\emptyset ¦ \{\} ¦ 1
e^{-x^2} ¦ \frac{1}{e^{x^2}} ¦ 1
1+2i ¦ 2i+1 ¦ 1
i ¦ \sqrt{-1} ¦ 1
-1 ¦ i^2 ¦ 1
5 ¦ the answer is 5 or 6 ¦ 0
42 ¦ approximately 42 ¦ 0
42 ¦ 42 (or 43) ¦ 0
42 ¦ either 42 or 43 ¦ 0
42 ¦ 42? ¦ 0
42 ¦ maybe 42 ¦ 0
$\boxed{\frac{3}{4}}$ ¦ 3/4 ¦ 1
$18 ¦ 18 ¦ 1
70,000 ¦ 70000 ¦ 1
1000000 ¦ 1 million ¦ 1
5 million ¦ 5000000 ¦ 1
x=1 or x=2 ¦ x=2, x=1 ¦ 1
x=1 \text{ or } x=2 ¦ 1, 2 ¦ 1
1,2 ¦ x=1, x=2 ¦ 1
1,2 ¦ x=1 or x=2 ¦ 1
12 ¦ 12.0000001 ¦ 0
0 ¦ 1e-9 ¦ 0
2 ¦ \sqrt{4} ¦ 1
3/4 ¦ \frac{6}{8} ¦ 1
3.14 ¦ \pi ¦ 0
\pi ¦ 3.14 ¦ 0
\pi ¦ 3.14159265 ¦ 1
三分之一 ¦ 1/3 ¦ 1
25% ¦ 百分之二十五 ¦ 1
12个 ¦ 12 ¦ 1
12 ¦ 12个 ¦ 1
12元 ¦ 12块 ¦ 1
3小时 ¦ 180分钟 ¦ 1
3小时 ¦ 3分钟 ¦ 0
12 ¦ 答：12 ¦ 1
12 ¦ 所以答案为：12。 ¦ 1
[0,1] ¦ (0,1) ¦ 0
[0,1] ¦ 0\le x\le 1 ¦ 1
x\in[0,1] ¦ [0,1] ¦ 1
x \geq 3 ¦ [3,\infty) ¦ 1
(1,2) ¦ 1,2 ¦ 1
\left(3,\frac{\pi}{2}\right) ¦ (3, \pi/2) ¦ 1
-\frac{1}{2} ¦ \frac{-1}{2} ¦ 1
2\frac{1}{3} ¦ 7/3 ¦ 1
7/3 ¦ 2 1/3 ¦ 1
(A) ¦ A ¦ 1
A ¦ B ¦ 0
x<5 ¦ x>5 ¦ 0
x<5 ¦ 5>x ¦ 1
x+y=3 ¦ 2x+2y=6 ¦ 1
x+y=3 ¦ x+y=4 ¦ 0
\begin{pmatrix}1\\2\end{pmatrix} ¦ \begin{pmatrix}1&2\end{pmatrix} ¦ 0
1:2 ¦ 1:2 ¦ 1
12:30 ¦ 12:30 PM ¦ 1
12:00 ¦ noon ¦ 0
f(x)=x^2 ¦ x^2 ¦ 1
2x ¦ 2y ¦ 0
\frac{a}{b} ¦ a/b ¦ 1
2^{n} ¦ 2^n ¦ 1
x^{10} ¦ x^10 ¦ 1
\log_2 8 ¦ 3 ¦ 1
90^\circ ¦ \pi/2 ¦ 0
20^\circ C ¦ 20°C ¦ 1
20°C ¦ 20°F ¦ 0
3.0 ¦ 3 ¦ 1
10^{-3} ¦ 0.001 ¦ 1
\$32 ¦ 32 dollars ¦ 1
32 ¦ $32.00 ¦ 1
50 cents ¦ $0.50 ¦ 1
60 mph ¦ 60 miles per hour ¦ 1
60 km/h ¦ 60 mph ¦ 0
5 m/s ¦ 5 m ¦ 0
9\text{ cm}^2 ¦ 9 cm^2 ¦ 1
9 cm^2 ¦ 9 cm^3 ¦ 0
9\text{ square units} ¦ 9 ¦ 1
9 ¦ 9 square units ¦ 1
forty-two ¦ 42 ¦ 1
1st ¦ 1 ¦ 0
No solution ¦ no solution ¦ 1
Paris ¦ paris. ¦ 1
Paris ¦ Not Paris ¦ 0
Paris ¦ Paris or London ¦ 0
Monday ¦ The answer is Monday ¦ 1
100 ¦ 1\times 10^2 ¦ 1
0.5 ¦ 50% ¦ 1
1234 ¦ 1.234 ¦ 0
1,2,3 ¦ 3,2,1 ¦ 1
(1,2,3) ¦ (3,2,1) ¦ 0
\{1,2,3\} ¦ \{1,2\} ¦ 0
42 ¦ ４２ ¦ 1
42 ¦ 42 43 ¦ 0
42 ¦ 42<br> ¦ 0
42 ¦ x ¦ 0
42 ¦ answer ¦ 0
42 ¦ nan ¦ 0
42 ¦ inf ¦ 0
"""

# (prompt, reference, answer part, right)
WITH_CONTEXT = [
    ("What is 17 + 25?", "42", "17 + 25", False),
    ("Compute $7 \\times 4+3$", "31", "7*4+3", False),
    ("Compute 7*4+3", "31", "3+7*4", False),
    ("Compute 7*4+3", "31", "31", True),
    ("Compute 7*4+3", "31", "7*4+3=31", True),
    ("Simplify 4/8", "1/2", "4/8", False),
    ("Simplify 4/8", "1/2", "1/2", True),
    ("Convert 1/4 to a percentage", "25%", "1/4", False),
    ("What percent?", "25", "25%", True),
    ("What is x?", "25", "25%", False),
    ("Factor x^2-1", "(x-1)(x+1)", "x^2-1", False),
    ("Factor x^2-1", "(x-1)(x+1)", "(x+1)(x-1)", True),
    ("How many apples?", "5", "5 apples", True),
    ("How many apples?", "5", "5 oranges", False),
    ("Convert 101_2 to decimal", "5", "101_2", False),
    ("Convert 5 to base 2", "101_2", "5", False),
    ("Write 5 in base 2", "101_2", "101", True),
    ("Convert 5 km to m", "5000 m", "5 km", False),
    ("Is 7 prime, yes or no?", "yes", "yes", True),
    ("", "3", "\\boxed{3} \\boxed{4}", False),
    ("", "3", "\\boxed{3}", True),
    ("", "3", "\\boxed{3} and \\boxed{3}", True),
    ("", "3", "not \\boxed{3}", False),
    ("", "3", "4 \\boxed{3}", False),
    ("", "3", "The total is \\boxed{3}.", True),
    ("", "3", "1+2=\\boxed{3}", True),
    ("", ["1/2", "0.5"], "0.5", True),
    ("", [3, 5], "3, 5", True),
    ("", [3, 5], "3", False),
    ("", ["colour", "color"], "color", True),
    ("", ["42"], "42", True),
    ("", 42, "42", True),
    ("", 0.5, "1/2", True),
    ("", 1e-07, "0", False),
    ("", 0.1, "0.1", True),
    ("", True, "true", True),
    ("", "42", "42\u200b3", False),
    ("", "42", "4\u200b2", False),
    ("", "42", "42\n43", False),
    ("", "42", "", False),
    ("", "0", "", False),
    ("", "x", "", False),
]
