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
5 ¦ 5 apples ¦ 1
5 ¦ 5 red apples ¦ 1
5 ¦ 5 people ¦ 1
5 ¦ 5 dozens ¦ 0
5 ¦ 5 nonsense ¦ 0
5 ¦ 5 wrong ¦ 0
5 ¦ 5 apples, 6 pears ¦ 0
5 ¦ 5 or 6 apples ¦ 0
5 apples ¦ 5 pears ¦ 0
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
12 ¦ 12个苹果 ¦ 1
12 ¦ 十二个苹果 ¦ 1
12 ¦ 12个左右 ¦ 0
3 ¦ 3个半小时 ¦ 0
3小时 ¦ 3个半小时 ¦ 0
3.5小时 ¦ 三个半小时 ¦ 1
1.5个月 ¦ 1个半月 ¦ 1
1/6 ¦ 0.1\dot{6} ¦ 1
1/7 ¦ 0.\dot{1}4285\dot{7} ¦ 1
1/3 ¦ 0.\dot{3} ¦ 1
3/10 ¦ 0.\dot{3} ¦ 0
12个苹果 ¦ 12个 ¦ 1
12个苹果 ¦ 12 ¦ 1
12个苹果 ¦ 12个梨 ¦ 0
12个学生 ¦ 12名学生 ¦ 1
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
12:00 ¦ noon ¦ 1
12:00 AM ¦ noon ¦ 0
0:00 ¦ midnight ¦ 1
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
no solution ¦ 无解 ¦ 1
DNE ¦ Does not exist. ¦ 1
DNE ¦ no solution ¦ 0
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
2 ¦ \log_{10} 100 ¦ 1
2 ¦ \lg 100 ¦ 1
\ln 2 ¦ \ln(2) ¦ 1
\frac{1}{2} ¦ .5 ¦ 1
-3 ¦ -3.0 ¦ 1
-3 ¦ 3 ¦ 0
+3 ¦ 3 ¦ 1
3 ¦ +3 ¦ 1
1/3 ¦ 0.3333333333 ¦ 1
0.333 ¦ 1/3 ¦ 0
1000 ¦ 1e3 ¦ 1
1000 ¦ 1,000.00 ¦ 1
1000 ¦ 1.000 ¦ 0
5% ¦ 0.05 ¦ 1
5% ¦ 5 percent ¦ 1
0.05 ¦ 5% ¦ 1
5 ¦ 5% ¦ 0
150% ¦ 1.5 ¦ 1
12\% ¦ 12 ¦ 1
12 cm ¦ 12cm ¦ 1
12 cm ¦ 12 centimeters ¦ 1
12 cm ¦ 0.12 m ¦ 1
12 cm ¦ 12 inches ¦ 0
3 hours ¦ 3 h ¦ 1
3 hours ¦ 3 minutes ¦ 0
$12.50 ¦ 12.5 ¦ 1
$12.50 ¦ $12.5 ¦ 1
$12 ¦ £12 ¦ 0
12 dollars ¦ \$12 ¦ 1
¥12 ¦ 12元 ¦ 1
12公里 ¦ 12 km ¦ 1
12平方米 ¦ 12 m^2 ¦ 1
12平方米 ¦ 12米 ¦ 0
12平方厘米 ¦ 12 平方厘米 ¦ 1
3天 ¦ 3 days ¦ 1
(2,3) ¦ (2, 3) ¦ 1
(2,3] ¦ (2,3) ¦ 0
(2,3] ¦ 2<x\leq3 ¦ 1
[2,3] ¦ [2, 3] ¦ 1
[2,3] ¦ \{2,3\} ¦ 0
(2,3) ¦ \{2,3\} ¦ 0
\{2,3\} ¦ (2,3) ¦ 0
(-\infty, 2) ¦ x<2 ¦ 1
(-\infty, 2] ¦ x<2 ¦ 0
(-\infty,-1]\cup[1,\infty) ¦ x\le -1 \text{ or } x \ge 1 ¦ 1
x\le -1 \text{ or } x \ge 1 ¦ (-\infty,-1]\cup[1,\infty) ¦ 1
(-\infty, \infty) ¦ \mathbb{R} ¦ 1
\mathbb{R} ¦ \mathbb{R} ¦ 1
\mathbb{Z} ¦ \mathbb{R} ¦ 0
[0,2] ¦ 0 \le x \le 2 ¦ 1
[0,2] ¦ x \in [0,2] ¦ 1
(1,2)\cup(3,4) ¦ (1,2)\cup[3,4) ¦ 0
x \neq 2 ¦ x \ne 2 ¦ 1
x = 2 ¦ x \ne 2 ¦ 0
1\frac12 ¦ 1.5 ¦ 1
1\frac12 ¦ \frac{1}{2} ¦ 0
3 1/4 ¦ 13/4 ¦ 1
3 1/4 ¦ 3.25 ¦ 1
31/4 ¦ 3 1/4 ¦ 0
FF_{16} ¦ ff_{16} ¦ 1
FF_{16} ¦ 0xFF ¦ 1
1A_{16} ¦ 1A_{12} ¦ 0
110_2 ¦ 110_{10} ¦ 0
6 ¦ 110_2 ¦ 0
110_2 ¦ (110)_2 ¦ 1
9:05 ¦ 9:05 ¦ 1
9:05 ¦ 9:50 ¦ 0
9:05 ¦ 09:05 ¦ 1
9:05 PM ¦ 21:05 ¦ 1
9:05 a.m. ¦ 9:05 am ¦ 1
9:05 a.m. ¦ 9:05 ¦ 1
9点05分 ¦ 9:05 ¦ 1
10:30 ¦ 10.5 ¦ 0
3:2 ¦ 2:3 ¦ 0
June 5, 2020 ¦ 2020-06-05 ¦ 1
June 5, 2020 ¦ June 5th, 2020 ¦ 1
June 5, 2020 ¦ June 6, 2020 ¦ 0
June 5 ¦ June 5 ¦ 1
5 ¦ June 5 ¦ 0
2020 ¦ June 5, 2020 ¦ 0
2020年6月5日 ¦ 2020-06-05 ¦ 1
\begin{pmatrix} 1 \\ 2 \end{pmatrix} ¦ \begin{bmatrix} 1 \\ 2 \end{bmatrix} ¦ 1
\begin{pmatrix} 1 & 2 \end{pmatrix} ¦ \begin{pmatrix} 1 \\ 2 \end{pmatrix} ¦ 0
\begin{pmatrix} 1/2 & 0 \\ 0 & 1 \end{pmatrix} ¦ \begin{pmatrix} 0.5 & 0 \\ 0 & 1 \end{pmatrix} ¦ 1
\begin{bmatrix}1&2\\3&4\end{bmatrix} ¦ \left[\begin{array}{cc}1&2\\3&4\end{array}\right] ¦ 1
\sqrt{12} ¦ 2\sqrt{3} ¦ 1
\sqrt{12} ¦ 3\sqrt{2} ¦ 0
\frac{1}{\sqrt2} ¦ \frac{\sqrt2}{2} ¦ 1
\sqrt[3]{8} ¦ 2 ¦ 1
2^{10} ¦ 1024 ¦ 1
\frac{\pi}{4} ¦ 45^\circ ¦ 0
\pi ¦ 3.141592654 ¦ 1
\pi ¦ 3.141593 ¦ 1
\pi ¦ 22/7 ¦ 0
x^2-1 ¦ (x-1)(x+1) ¦ 1
x^2-1 ¦ y^2-1 ¦ 0
\sin^2 x + \cos^2 x ¦ 1 ¦ 1
\frac{x^2-1}{x-1} ¦ x+1 ¦ 1
a+b ¦ b+a ¦ 1
2ab ¦ 2ba ¦ 1
e^{2x} ¦ (e^x)^2 ¦ 1
3x+5 ¦ 5+3x ¦ 1
3x+5=0 ¦ 6x+10=0 ¦ 1
y=3x+5 ¦ 3x+5 ¦ 1
y=3x+5 ¦ y=5+3x ¦ 1
f(x) = 2x ¦ 2x ¦ 1
x=1, y=2 ¦ y=2, x=1 ¦ 1
x=1,y=2 ¦ x=2,y=1 ¦ 0
\{(1,2),(3,4)\} ¦ (3,4), (1,2) ¦ 1
(1,2),(3,4) ¦ (3,4),(1,2) ¦ 1
1, 2, 3 ¦ 1, 2 ¦ 0
1, 2 ¦ 1, 2, 3 ¦ 0
1, 2 ¦ 1 ¦ 0
1 \text{ and } 2 ¦ 2, 1 ¦ 1
1;2 ¦ 1,2 ¦ 1
no ¦ No. ¦ 1
\text{no solution} ¦ No solution ¦ 1
\text{even} ¦ odd ¦ 0
\text{Friday} ¦ friday ¦ 1
New York ¦ new york ¦ 1
New York ¦ York ¦ 0
True ¦ true ¦ 1
True ¦ not true ¦ 0
北京 ¦ 北京 ¦ 1
北京 ¦ 上海 ¦ 0
是 ¦ 不是 ¦ 0
正确 ¦ 不正确 ¦ 0
三 ¦ 3 ¦ 1
一百二十 ¦ 120 ¦ 1
42 ¦ 答案是：42 ¦ 1
42 ¦ 答案不是42 ¦ 0
42 ¦ 42或43 ¦ 0
42 ¦ 可能是42 ¦ 0
42 ¦ It is not 42. ¦ 0
42 ¦ The answer is not 42 ¦ 0
42 ¦ The answer isn't 42 ¦ 0
42 ¦ anything but 42 ¦ 0
42 ¦ 42 or so ¦ 0
42 ¦ 42 - maybe ¦ 0
42 ¦ 41 < x < 43 ¦ 0
42 ¦ > 42 ¦ 0
42 ¦ < 43 ¦ 0
42 ¦ between 41 and 43 ¦ 0
42 ¦ 41-43 ¦ 0
42 ¦ 42/1 ¦ 1
42 ¦ 42; 43 ¦ 0
42 ¦ 42 / 43 ¦ 0
42 ¦ 42|43 ¦ 0
42 ¦ {42, 43} ¦ 0
42 ¦ [42, 43] ¦ 0
42 ¦ 42\\43 ¦ 0
42 ¦ x=42, x=43 ¦ 0
42 ¦ x = 42 or x = 43 ¦ 0
42 ¦ \boxed {42} ¦ 1
42 ¦ \boxed{ 42 } ¦ 1
42 ¦ \text{42} ¦ 1
42 ¦ $\boxed{42}$ ¦ 1
42 ¦ \[42\] ¦ 1
42 ¦ \(42\) ¦ 1
42 ¦ $$42$$ ¦ 1
42 ¦ `42` ¦ 1
42 ¦ "42" ¦ 1
42 ¦ 42. ¦ 1
42 ¦ = 42 ¦ 1
42 ¦ Answer: 42 ¦ 1
42 ¦ The final answer is $42$. ¦ 1
42 ¦ (42) ¦ 1
42 ¦ ((42)) ¦ 1
42 ¦ 42^1 ¦ 1
42 ¦ 4 2 ¦ 0
42 ¦ 0042 ¦ 1
42 ¦ 4.2e1 ¦ 1
42 ¦ 42e0 ¦ 1
42 ¦ forty two ¦ 1
42 ¦ 42🙂 ¦ 0
42 ¦ 42 ✓ ¦ 0
42 ¦ 42 units ¦ 1
42 ¦ 42 km ¦ 1
42 ¦ 42 \text{ km} ¦ 1
42 ¦ 42 correct ¦ 0
42 ¦ 42 1 ¦ 0
42 ¦ 42abc ¦ 0
42 ¦ abc42 ¦ 0
42 ¦ 42x ¦ 0
42 ¦ -42 ¦ 0
42 ¦ |42| ¦ 1
42 ¦ |-42| ¦ 1
42 ¦ 42i ¦ 0
42 ¦ 42% ¦ 0
42 ¦ \frac{84}{2} ¦ 1
42 ¦ 6 \times 7 = 42 ¦ 1
42 ¦ 6*7=42 ¦ 1
42 ¦ 6*7=43 ¦ 0
42 ¦ 43=42 ¦ 0
42 ¦ 42=43 ¦ 0
0.1 ¦ 0.10 ¦ 1
0.1 ¦ 0.1000001 ¦ 0
1000000 ¦ 10^6 ¦ 1
1000000 ¦ 1000000.4 ¦ 0
123456789 ¦ 123456789.0000001 ¦ 0
0 ¦ -0 ¦ 1
0 ¦ 0.0000001 ¦ 0
\text{(B)} ¦ B ¦ 1
(B) ¦ (B) ¦ 1
p - q ¦ p-q ¦ 1
4\pi ¦ 12.566370614 ¦ 1
4\pi\text{ cm}^2 ¦ 4\pi ¦ 1
4\pi\text{ cm}^2 ¦ 4\pi \text{ cm}^2 ¦ 1
4\pi\text{ cm}^2 ¦ 4\pi \text{ cm} ¦ 0
\frac{3}{4} \text{ hour} ¦ 45 minutes ¦ 1
5\sqrt{3} cm ¦ 5\sqrt{3} cm ¦ 1
5\sqrt{3} cm ¦ 5\sqrt{3} m ¦ 0
1.5 million ¦ 1500000 ¦ 1
2\frac{1}{2} hours ¦ 2.5 hours ¦ 1
60^\circ ¦ 60 ¦ 1
60^{\circ} ¦ 60° ¦ 1
60 degrees ¦ 60^\circ ¦ 1
60^\circ ¦ 60 radians ¦ 0
37.5^\circ C ¦ 37.5 ¦ 1
a ¦ \text{a} ¦ 1
\{a, b\} ¦ \{b, a\} ¦ 1
\text{A and B} ¦ A, B ¦ 1
x ¦ X ¦ 0
3+4i ¦ 4i+3 ¦ 1
3+4i ¦ 3-4i ¦ 0
\frac{1}{2}+\frac{\sqrt3}{2}i ¦ \frac{1+i\sqrt{3}}{2} ¦ 1
n! ¦ n! ¦ 1
\binom{5}{2} ¦ 10 ¦ 1
5! ¦ 120 ¦ 1
\lfloor 3.7 \rfloor ¦ 3 ¦ 1
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
    ("What is the result?", "5", "5 apples", False),
    ("小明有20个苹果和3个梨，还剩多少个苹果？", "12", "12个苹果", True),
    ("小明有20个苹果和3个梨，还剩多少个苹果？", "12", "12个梨", False),
    ("有多少名学生？", "12", "12名学生", True),
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
