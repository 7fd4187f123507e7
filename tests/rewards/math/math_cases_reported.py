"""Cases of the kinds of error that users of other toolkits reported, labelled by hand; values and wording are our own.

reference ¦ answer ¦ 1 if it is right ¦ question (may be absent)
"""

TABLE = r"""
\binom{8}{3} ¦ 56 ¦ 1
56 ¦ {8 \choose 3} ¦ 1
56 ¦ \dbinom{8}{3} ¦ 1
\sqrt[3]{16} ¦ 2\sqrt[3]2 ¦ 1
\frac{\sqrt[3]{2}}{2} ¦ \dfrac{\sqrt[3]2}2 ¦ 1
x^{-1} ¦ \frac1x ¦ 1
\log_2 8 ¦ 3 ¦ 1
\ln(e^2) ¦ 2 ¦ 1
\ln 5 ¦ \log_{\mathrm{e}} 5 ¦ 1
\ln 5 ¦ \log_5 e ¦ 0
2^{\frac12} ¦ \sqrt2 ¦ 1
57 ¦ **Answer:** 57 ¦ 1
57 ¦ The final answer is: **57** ¦ 1
57 ¦ ➡️ Final Answer: $\boxed{57}$ ¦ 1
57 ¦ **✅ Final Answer:** 57 ¦ 1
57 ¦ **Final Answer: 57** ¦ 1
57 ¦ <b>Final Answer:</b> 57 ¦ 0
57 ¦ Final Answer (rounded): 57 ¦ 0
57 ¦ ✅ Final Answer: **57 apples** ¦ 1 ¦ How many apples are there?
57 ¦ Final Answer: 75 ¦ 0
57 ¦ FINAL ANSWER: 57 ¦ 1
£12.50 ¦ 12.50 GBP ¦ 1
£12.50 ¦ 12.5 pounds ¦ 1
£12.50 ¦ \text{£}12.50 ¦ 1
£12.50 ¦ \pounds\, 12.50 ¦ 1
£12.50 ¦ £12.05 ¦ 0
£12.50 ¦ ¥12.50 ¦ 0
£12.50 ¦ 1250 pence ¦ 1
£12.50 ¦ 12.50 ¦ 1
12.50 ¦ \pounds 12.50 ¦ 1
7:45\text{ a.m.} ¦ 7\!:\!45 \text{ AM} ¦ 1
7:45\text{ a.m.} ¦ 7:45 ¦ 1
7:45\text{ a.m.} ¦ 19:45 ¦ 0
7{:}45 ¦ 7:45 ¦ 1
3{:}4 ¦ 3:4 ¦ 1
30^\circ\text{F} ¦ 30 ¦ 1
-3 ¦ -3\,^{\circ}\mathrm{C} ¦ 1 ¦ How cold is it in degrees Celsius?
-3 ¦ -3 ℃ ¦ 1 ¦ What is the temperature in °C at noon?
-3 ¦ -3 K ¦ 0 ¦ What is the temperature in °C at noon?
-3 ¦ 3 degrees Celsius ¦ 0 ¦ What is the temperature in degrees Celsius?
45 ¦ 45^\circ ¦ 1 ¦ What is the measure of angle A in degrees?
45 ¦ 45^\circ C ¦ 0 ¦ What is the measure of angle A in degrees?
12 ¦ \$12 each day ¦ 1 ¦ How many dollars does the shop make daily?
12 ¦ $12 per hour ¦ 1 ¦ What is his hourly wage in dollars?
12 ¦ $12/hr ¦ 1 ¦ How much does he earn per hour, in dollars?
12 ¦ $12/day ¦ 0 ¦ How much does he earn per hour, in dollars?
18 ¦ $18 per day ¦ 1 ¦ How much does she make every day at the market?
18 ¦ $18 every day at the market ¦ 1 ¦ How much in dollars does she make every day at the market?
18 ¦ She makes $18 each day at the farm. ¦ 1 ¦ How much in dollars does she make each day at the farm?
70000 ¦ He made a profit of $70,000. ¦ 1 ¦ How much profit did he make?
70000 ¦ Josh made a profit of $70,000 ¦ 1 ¦ How much profit did Josh make?
3 ¦ It takes 3 bolts. ¦ 1 ¦ How many bolts in total does it take?
3 ¦ It takes 3 bolts in total ¦ 1 ¦ How many bolts in total does it take?
540 ¦ He runs 540 meters a week. ¦ 1 ¦ How many total meters does he run a week?
540 ¦ He runs 540 meters a day. ¦ 0 ¦ How many total meters does he run a week?
(1,-2,5) ¦ (x,y,z)=(1,-2,5) ¦ 1
(1,-2,5) ¦ x=1,y=-2,z=5 ¦ 1
(1,-2,5) ¦ (x,z,y)=(1,-2,5) ¦ 0
\left(4,\frac{5\pi}{6}\right) ¦ (r, \theta) = \left(4, \frac{5\pi}{6}\right) ¦ 1
\left(4,\frac{5\pi}{6}\right) ¦ (r, θ) = (4, 5π/6) ¦ 1
[0,1)\cup(1,2] ¦ \{x \mid 0 \le x \le 2, x \ne 1\} ¦ 1
(-\infty,0)\cup(0,\infty) ¦ x \ne 0 ¦ 1
(-\infty,0)\cup(0,\infty) ¦ \mathbb{R}\backslash\{0\} ¦ 1
(-\infty,0)\cup(0,\infty) ¦ ℝ∖{0} ¦ 1
(-\infty,0)\cup(0,\infty) ¦ \mathbb{R}^* ¦ 0
[1,5] ¦ [1,3]\cup[3,5] ¦ 1
[1,5] ¦ [1,3)\cup(3,5] ¦ 0
周三 ¦ 星期三 ¦ 1
周三 ¦ 星期三。 ¦ 1
三月八日 ¦ 3月8日 ¦ 1
3月8日 ¦ 3月18日 ¦ 0
十二月二十五日 ¦ 12月25号 ¦ 1
错 ¦ 不对 ¦ 1
对 ¦ 不对 ¦ 0
对 ¦ 是的 ¦ 0
小红 ¦ 小红跑得最快 ¦ 1 ¦ 小明、小红和小刚谁跑得最快？
小红 ¦ 小明跑得最快 ¦ 0 ¦ 小明、小红和小刚谁跑得最快？
小红 ¦ 小红和小明跑得最快 ¦ 0 ¦ 小明、小红和小刚谁跑得最快？
小红 ¦ 小红或小明跑得最快 ¦ 0 ¦ 小明、小红和小刚谁跑得最快？
小红 ¦ 跑得最快的是小红 ¦ 1 ¦ 小明、小红和小刚谁跑得最快？
28 ¦ 28岁 ¦ 1 ¦ 爸爸今年多少岁？
28 ¦ 爸爸今年28岁。 ¦ 1 ¦ 爸爸今年多少岁？
28 ¦ 妈妈今年28岁。 ¦ 0 ¦ 爸爸今年多少岁？
2 ¦ 2nd ¦ 1 ¦ In what position did Mia finish?
2 ¦ second ¦ 1 ¦ In what position did Mia finish?
2 ¦ 2nd place ¦ 1 ¦ In what place did Mia finish?
2 ¦ 3rd ¦ 0 ¦ In what position did Mia finish?
2 ¦ 2nd ¦ 0 ¦ What is 1+1?
\begin{pmatrix} 0 \\ 3 \end{pmatrix} ¦ 3\begin{bmatrix}0\\1\end{bmatrix} ¦ 1
\begin{pmatrix} 0 \\ 3 \end{pmatrix} ¦ -3\begin{bmatrix}0\\1\end{bmatrix} ¦ 0
\begin{pmatrix} x/2 \\ 3 \end{pmatrix} ¦ \frac{1}{2}\begin{pmatrix}x\\6\end{pmatrix} ¦ 1
\begin{pmatrix} 1/2 & 1\end{pmatrix} ¦ \tfrac12 \begin{pmatrix} 1 & 2 \end{pmatrix} ¦ 1
5,\!040 ¦ 7! ¦ 1
5,\!040 ¦ 5.04 \times 10^3 ¦ 1
5,\!040 ¦ 5,040 ¦ 1
5,040 ¦ 5,\!040 ¦ 1
1,\!048,\!576 ¦ 1048576 ¦ 1
5\;040 ¦ 5040 ¦ 1
1,\!2 ¦ 12 ¦ 0
5,\!040, 6 ¦ 5040, 6 ¦ 1
x=\pm\frac{1}{2} ¦ \frac12,-\frac12 ¦ 1
\pm\frac{1}{2} ¦ x=\frac12 \text{ or } x=-\frac12 ¦ 1
\{0,\pm 3\} ¦ 0, 3, -3 ¦ 1
1\pm 2i ¦ 1+2i ¦ 0
\frac{3\pm\sqrt{5}}{2} ¦ \frac{3+\sqrt5}{2}, \frac{3-\sqrt5}{2} ¦ 1
1,\!234,\!567 ¦ 1234567 ¦ 1
1,\!234,\!567 ¦ 1,234,567 ¦ 1
36\,500 ¦ 36{,}500 ¦ 1
100,\!000 ¦ 10^5 ¦ 1
100,\!000 ¦ 100, 000 ¦ 0
12,\!600 ¦ 12 ¦ 0
12,\!600 ¦ 600 ¦ 0
(1,\!200, 3) ¦ (1200,3) ¦ 1
(1,\,200) ¦ (1,200) ¦ 1
\$2,\!500 ¦ $2500 ¦ 1
1,\!000\text{ cm} ¦ 10 m ¦ 1
12,\!60 ¦ 1260 ¦ 0
\begin{pmatrix} 4 \\ -6 \end{pmatrix} ¦ 2\begin{pmatrix} 2 \\ -3 \end{pmatrix} ¦ 1
\begin{pmatrix} 4 \\ -6 \end{pmatrix} ¦ -2\begin{pmatrix} -2 \\ 3 \end{pmatrix} ¦ 1
\begin{pmatrix} 4 \\ -6 \end{pmatrix} ¦ 2\begin{pmatrix} 2 \\ 3 \end{pmatrix} ¦ 0
\begin{pmatrix} \sqrt{2} \\ 1 \end{pmatrix} ¦ \sqrt{2}\begin{pmatrix} 1 \\ \frac{1}{\sqrt2} \end{pmatrix} ¦ 1
\begin{pmatrix} 1/3 & 0 \\ 0 & 2/3\end{pmatrix} ¦ \frac{1}{3} \left[\begin{array}{cc}1&0\\0&2\end{array}\right] ¦ 1
\frac{1}{3}\begin{pmatrix}1&0\\0&2\end{pmatrix} ¦ \begin{pmatrix} 1/3 & 0 \\ 0 & 2/3\end{pmatrix} ¦ 1
\begin{pmatrix} 2a \\ 2b\end{pmatrix} ¦ 2 \cdot \begin{pmatrix} a \\ b\end{pmatrix} ¦ 1
\begin{bmatrix} 1/2 \\ 1 \end{bmatrix} ¦ \begin{bmatrix} 1 \\ 2 \end{bmatrix}/2 ¦ 1
\begin{pmatrix} 1 \\ 2 \end{pmatrix} ¦ 3-\begin{pmatrix} 1 \\ 2 \end{pmatrix} ¦ 0
-\begin{pmatrix} 1 \\ 2 \end{pmatrix} ¦ -\begin{pmatrix} 1 \\ 2 \end{pmatrix} ¦ 1
\{1\pm\sqrt{5}, 3\} ¦ 3, 1+\sqrt5, 1-\sqrt5 ¦ 1
1+\sqrt5, 1-\sqrt5, 3 ¦ 3, 1 \pm \sqrt{5} ¦ 1
\pm 4 ¦ 4, -4 ¦ 1
\pm 4 ¦ 4 ¦ 0
\{4,-4\} ¦ \{\pm 4\} ¦ 1
x = 2 \pm \sqrt{3} ¦ 2+\sqrt3, 2-\sqrt3 ¦ 1
2\pm 3i ¦ 2-3i, 2+3i ¦ 1
\{\pm 1, \pm 2\} ¦ \{-2,-1,1,2\} ¦ 1
\{\pm 1, \pm 2\} ¦ \{-2,-1,1\} ¦ 0
(\pm 1, 2) ¦ (1,2), (-1,2) ¦ 1
[0,3)\cup(3,7] ¦ [0,7]\setminus\{3\} ¦ 1
[0,3)\cup(3,7] ¦ [0,7)\setminus\{3\} ¦ 0
(-\infty,-1)\cup(-1,1)\cup(1,\infty) ¦ \mathbb{R} \setminus \{-1,1\} ¦ 1
(-\infty,-1)\cup(-1,1)\cup(1,\infty) ¦ x \neq \pm 1 ¦ 1
(-\infty,-1)\cup(-1,1)\cup(1,\infty) ¦ x \ne -1, x \ne 1 ¦ 1
(-\infty,-1)\cup(-1,1)\cup(1,\infty) ¦ \mathbb{R} - \{1,-1\} ¦ 1
(-\infty,-1)\cup(-1,1)\cup(1,\infty) ¦ \mathbb{R} \setminus \{1\} ¦ 0
(0,2) \cup (5,9) ¦ (0,9)\setminus[2,5] ¦ 1
(0,2) \cup (5,9) ¦ (0,9)\setminus(2,5) ¦ 0
(-\infty,3)\cup(3,\infty) ¦ all real numbers except 3 ¦ 1
(-\infty,\sqrt2)\cup(\sqrt2,\infty) ¦ x \in \mathbb{R} \setminus \{\sqrt{2}\} ¦ 1
(0,\infty)\setminus\{1\} ¦ x>0, x \ne 1 ¦ 1
(0,1)\cup(1,\infty) ¦ x>0 \text{ and } x \ne 1 ¦ 1
[1,2]\cup[2,4] ¦ [1,4] ¦ 1
(1,2)\cup(2,4) ¦ (1,4) ¦ 0
2\sqrt[4]{3} ¦ 2\sqrt[4]3 ¦ 1
2\sqrt[4]{3} ¦ 2\sqrt[3]3 ¦ 0
\ln 8 ¦ \log_{e} 8 ¦ 1
\frac{11}{4}^\circ ¦ \left(\frac{11}{4}\right)^{\circ} ¦ 1
\left(\frac{11}{4}\right)^\circ ¦ \frac{11}{4} degrees ¦ 1
25 ¦ 25^\circ\mathrm{F} ¦ 1 ¦ What is the temperature in degrees Fahrenheit?
25 ¦ 25°F ¦ 1 ¦ What is the temperature in °F?
25 ¦ 25°C ¦ 0 ¦ What is the temperature in °F?
25 ¦ 25 degrees ¦ 1 ¦ What is the temperature in degrees Fahrenheit?
25^\circ C ¦ 25^\circ\text{C} ¦ 1
25^\circ C ¦ 25 degrees Celsius ¦ 1
25^\circ C ¦ 25^\circ\text{F} ¦ 0
40 ¦ 40 km per hour ¦ 1 ¦ How many kilometers does it travel per hour?
40 ¦ 40 km ¦ 1 ¦ How many kilometers does it travel per hour?
40 ¦ 40 km per minute ¦ 0 ¦ How many kilometers does it travel per hour?
20 ¦ 20 hours ¦ 1 ¦ How many hours per week does she work?
20 ¦ 20 hours per week ¦ 1 ¦ How many hours per week does she work?
20 ¦ 20 hours per day ¦ 0 ¦ How many hours per week does she work?
15 ¦ \$15 a week ¦ 1 ¦ How many dollars does he save each week?
15 ¦ \$15/week ¦ 1 ¦ How many dollars does he save each week?
15 ¦ 15 dollars every week ¦ 1 ¦ How many dollars does he save each week?
15 ¦ 15 per week ¦ 1 ¦ How many dollars does he save each week?
15 ¦ €15 per week ¦ 0 ¦ How many dollars does he save each week?
£7.25 ¦ \pounds7.25 ¦ 1
£7.25 ¦ \textsterling 7.25 ¦ 1
£7.25 ¦ 7.25 pounds ¦ 1
£7.25 ¦ \euro 7.25 ¦ 0
€3 ¦ \euro{}3 ¦ 1
€3 ¦ 3\text{ euros} ¦ 1
21 ¦ 21^{st} ¦ 1 ¦ Which floor does he live on?
21 ¦ 21st floor ¦ 1 ¦ Which floor does he live on?
21 ¦ twenty-first ¦ 1 ¦ Which floor does he live on?
21 ¦ the 21st ¦ 1 ¦ What place did she finish in?
21 ¦ 21th ¦ 0 ¦ Which floor does he live on?
21 ¦ 21st ¦ 0 ¦ How many floors does the house have?
21 ¦ 22nd ¦ 0 ¦ Which floor does he live on?
8 ¦ 第8名 ¦ 1 ¦ 他是第几名？
8 ¦ 第八 ¦ 1 ¦ 他是第几名？
8 ¦ 第九名 ¦ 0 ¦ 他是第几名？
91 ¦ **Final Answer:** 91 ¦ 1
91 ¦ ### Final Answer: 91 ¦ 1
91 ¦ **Final Answer**: $91$ ¦ 1
91 ¦ 🎯 Answer: **91** ¦ 1
91 ¦ ✅ **Answer: 91** ¦ 1
91 ¦ ✅ Final Answer: \boxed{91} ¦ 1
91 ¦ Final Answer: The final answer is $91$. I hope it is correct. ¦ 1
91 ¦ 👉 The answer is **91**. ¦ 1
91 ¦ Answer → 91 ¦ 1
91 ¦ ❌ Final Answer: 91 ¦ 0
91 ¦ Final Answer: not 91 ¦ 0
91 ¦ ✅ Final Answer: 91 and 92 ¦ 0
(3,-1) ¦ (a,b) = (3,-1) ¦ 1
(3,-1) ¦ (b,a) = (3,-1) ¦ 0
(3,-1) ¦ (b,a) = (-1,3) ¦ 1
(3,-1) ¦ (p,m) = (3,-1) ¦ 1 ¦ Find the ordered pair (p,m).
(3,-1) ¦ (m,p) = (-1,3) ¦ 1 ¦ Find the ordered pair (p,m).
(5,\frac{\pi}{4},2) ¦ (r,\theta,z) = (5,\frac{\pi}{4},2) ¦ 1
(5,\frac{\pi}{4}) ¦ r=5, \theta=\frac{\pi}{4} ¦ 1
(5,\frac{\pi}{4}) ¦ (\theta, r)=(5,\frac{\pi}{4}) ¦ 0
(x_1,x_2)=(1,2) ¦ (1,2) ¦ 1
9:05 \text{ a.m.} ¦ 9{:}05\text{ am} ¦ 1
9:05 \text{ a.m.} ¦ 9\colon 05 a.m. ¦ 1
9:05 \text{ a.m.} ¦ 9{:}05\text{ pm} ¦ 0
星期日 ¦ 周日 ¦ 1
星期日 ¦ 礼拜天 ¦ 1
星期日 ¦ 星期天 ¦ 1
星期日 ¦ Sunday ¦ 1
星期日 ¦ 星期六 ¦ 0
Tuesday ¦ 周二 ¦ 1
Tuesday ¦ Tue. ¦ 1
Tuesday ¦ Thu. ¦ 0
10月3日 ¦ 十月三日 ¦ 1
10月3日 ¦ 十月三号 ¦ 1
10月3日 ¦ 十月二日 ¦ 0
2024年2月29日 ¦ 二〇二四年二月二十九日 ¦ 1
2024年2月29日 ¦ 二零二四年二月二十九日 ¦ 1
2024年2月29日 ¦ February 29, 2024 ¦ 1
对 ¦ 对的 ¦ 1
对 ¦ √ ¦ 1
对 ¦ 错误 ¦ 0
错 ¦ 错误 ¦ 1
错 ¦ × ¦ 1
错误 ¦ 不正确 ¦ 1
正确 ¦ 错 ¦ 0
甲 ¦ 甲最快 ¦ 1 ¦ 甲、乙、丙三人谁最快？
甲 ¦ 甲最慢 ¦ 0 ¦ 甲、乙、丙三人谁最快？
C ¦ \textbf{(C)}\ 12 ¦ 1 ¦ What is 5+7? $\textbf{(A)}\ 10 \qquad \textbf{(B)}\ 11 \qquad\textbf{(C)}\ 12$
12 ¦ \textbf{(C)}\ 12 ¦ 1
\textbf{(C)}\ 12 ¦ 12 ¦ 1
\textbf{(C)}\ 12 ¦ C ¦ 1
\textbf{(C)}\ 12 ¦ (B) 12 ¦ 0
\textbf{(C)}\ 12 ¦ (C) 13 ¦ 0
\textbf{(C)}\ 12 ¦ (C) ¦ 1
C ¦ (C) 12 or (D) 15 ¦ 0 ¦ What is 5+7? $\textbf{(A)}\ 10 \qquad \textbf{(B)}\ 11 \qquad\textbf{(C)}\ 12$
C ¦ (B) 12 ¦ 0 ¦ What is 5+7? $\textbf{(A)}\ 10 \qquad \textbf{(B)}\ 11 \qquad\textbf{(C)}\ 12$
12 ¦ (C) 13 ¦ 0
\frac{1}{2} ¦ \text{(D) } \frac12 ¦ 1
\frac{1}{2} ¦ \text{(D) } 0.5 ¦ 1
3A ¦ (A) 3 ¦ 1
C ¦ (C) is wrong ¦ 0 ¦ What is 5+7? $\textbf{(A)}\ 10 \qquad \textbf{(B)}\ 11 \qquad\textbf{(C)}\ 12$
C ¦ (C)12 ¦ 0
C ¦ (C)12 ¦ 1 ¦ What is 5+7? $\textbf{(A)}\ 10 \qquad \textbf{(B)}\ 11 \qquad\textbf{(C)}\ 12$
C ¦ ( C ) Paris ¦ 1 ¦ Which one: (A) Rome, (B) Bern, (C) Paris?
Paris ¦ (C) Paris ¦ 1
Paris ¦ (C) London ¦ 0
3:2 ¦ 3/2 ¦ 1 ¦ What is the ratio of boys to girls?
3/2 ¦ 3:2 ¦ 1 ¦ What is the ratio of boys to girls?
3/2 ¦ 6:4 ¦ 1 ¦ What is the ratio of boys to girls?
3/2 ¦ 2:3 ¦ 0 ¦ What is the ratio of boys to girls?
1:2 ¦ 0.5 ¦ 1 ¦ What is the ratio?
1:3 ¦ 0.33 ¦ 0 ¦ What is the ratio?
3:2:1 ¦ 3/2 ¦ 0 ¦ What is the ratio?
\varnothing ¦ no solution ¦ 1 ¦ Find all solutions of $|x| = x - 1$.
\text{no solution} ¦ \emptyset ¦ 1 ¦ Find all solutions of $|x| = x - 1$.
\text{No real solutions} ¦ \emptyset ¦ 0 ¦ Find all solutions of $|x| = x - 1$.
0 ¦ no solution ¦ 0 ¦ Find all solutions of $|x| = x - 1$.
\emptyset ¦ 无解 ¦ 1 ¦ Find all solutions of $|x| = x - 1$.
\emptyset ¦ There are no solutions ¦ 1 ¦ Find all solutions of $|x| = x - 1$.
5 ¦ (5) 3 ¦ 0
"""

SENTENCES = r"""
63 ¦ Omar has 63 stamps. ¦ 1 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar now has 63 stamps ¦ 1 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ He has 63 stamps now. ¦ 1 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Lena has 63 stamps. ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar lost 63 stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar gave 63 stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has at least 63 stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has more than 63 stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has 63 coins ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has 63 ¦ 1 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has about 63 stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has -63 stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has 63.5 stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has 63 or so stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has 63 dozen stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has 63% stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Does Omar have 63 stamps? ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has sixty 63 stamps ¦ 0 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
63 ¦ Omar has 63 of the stamps ¦ 1 ¦ Omar had 90 stamps and gave 27 to Lena. How many stamps does Omar have now?
12 ¦ Ada has 12 more shells than Ben. ¦ 1 ¦ How many more shells does Ada have than Ben?
12 ¦ Ben has 12 more shells than Ada. ¦ 0 ¦ How many more shells does Ada have than Ben?
12 ¦ Ada has 12 shells. ¦ 0 ¦ How many more shells does Ada have than Ben?
72 ¦ Nia sold 72 clips altogether in April and May. ¦ 1 ¦ How many clips did Nia sell altogether in April and May?
72 ¦ Nia bought 72 clips in May. ¦ 0 ¦ How many clips did Nia sell in May?
$18.50 ¦ Ty spent $18.50. ¦ 1 ¦ How much money did Ty spend?
18.50 ¦ Ty spent $18.50. ¦ 1 ¦ How much money did Ty spend?
18 ¦ Ty spent €18 ¦ 0 ¦ How much money did Ty spend in dollars?
60 ¦ The train travels 60 miles per hour. ¦ 1 ¦ How many miles does the train travel per hour?
60 ¦ The train travels 60 miles per day. ¦ 0 ¦ How many miles does the train travel per hour?
Bo ¦ Bo is the tallest. ¦ 1 ¦ Who is the tallest?
Bo ¦ Al is the tallest. ¦ 0 ¦ Who is the tallest?
Bo ¦ Bo is not the tallest. ¦ 0 ¦ Who is the tallest?
Bo ¦ Bo runs fastest ¦ 1 ¦ Which boy runs fastest?
丙 ¦ 丙最高 ¦ 1 ¦ 甲、乙、丙三人谁最高？
丙 ¦ 丙不最高 ¦ 0 ¦ 甲、乙、丙三人谁最高？
丙 ¦ 甲最高 ¦ 0 ¦ 甲、乙、丙三人谁最高？
丙 ¦ 丙最矮 ¦ 0 ¦ 甲、乙、丙三人谁最高？
63 ¦ 小明现在有63张邮票。 ¦ 1 ¦ 小明现在有多少张邮票？
63 ¦ 小明有63张邮票 ¦ 1 ¦ 小明现在有多少张邮票？
63 ¦ 小明没有63张邮票 ¦ 0 ¦ 小明现在有多少张邮票？
63 ¦ 小红有63张邮票 ¦ 0 ¦ 小明现在有多少张邮票？
63 ¦ 小明现在有36张邮票。 ¦ 0 ¦ 小明现在有多少张邮票？
63 ¦ 小明有63本邮票 ¦ 0 ¦ 小明现在有多少张邮票？
12 ¦ There are 12 days left until June. ¦ 1 ¦ How many days are left until June?
12 ¦ 12 days are left. ¦ 1 ¦ How many days are left?
12 ¦ 12 apples remain ¦ 1 ¦ How many apples remain?
12 ¦ 12 apples were eaten ¦ 0 ¦ How many apples remain?
\frac{3}{8} ¦ \frac{3}{8} of the cake is left ¦ 1 ¦ What fraction of the cake is left?
5 ¦ 5 students play both. ¦ 1 ¦ How many students play both?
5 ¦ 5 students play both. ¦ 0 ¦ How many students play neither?
5 km ¦ She ran 5 km. ¦ 1 ¦ How far did she run?
5 km ¦ She ran 5 miles. ¦ 0 ¦ How far did she run?
24 ¦ The area of the garden is 24 square meters. ¦ 1 ¦ What is the area of the garden?
24 ¦ The area of the garden is 24 meters. ¦ 0 ¦ What is the area of the garden?
12 ¦ There are 12 boys in the class. ¦ 0 ¦ How many girls are in the class of 18 boys?
12 ¦ There are 12 girls in the class. ¦ 1 ¦ How many girls are in the class of 18 boys?
"""
"""Sentences beside their questions."""
