"""More cases, labelled by hand: what the question asks for, what stands beside a box, separators, units, bounds."""

# reference ¦ answer ¦ 1 if it is right ¦ question (may be absent)
TABLE = r"""
120 ¦ a hundred and twenty ¦ 1
1000 ¦ a thousand ¦ 1
1234567 ¦ 12,34,567 ¦ 1
1234567 ¦ 1.234.567 ¦ 1
1234567 ¦ 1'234'567 ¦ 1
1234567 ¦ 123万4567 ¦ 1
12345678 ¦ 1,23,45,678 ¦ 1
100000 ¦ 1,00,000 ¦ 1
1234.56 ¦ 1.234,56 ¦ 1
350000000 ¦ 3亿5000万 ¦ 1
6.02\times 10^{23} ¦ 6.02*10**23 ¦ 1
1.6\times 10^{-19} \text{ C} ¦ 1.6e-19 C ¦ 1
9.8\text{ m/s}^2 ¦ 9.8 m s^{-2} ¦ 1
9.8\text{ m/s}^2 ¦ 9.8 \frac{m}{s^2} ¦ 1
9.8\text{ m/s}^2 ¦ 9.8\,\mathrm{m\,s^{-2}} ¦ 1
20 \text{ N} ¦ 0.02 kN ¦ 1
5 \text{ MW} ¦ 5000 kW ¦ 1
5 \mu\text{m} ¦ 5 micrometers ¦ 1
5 \mu\text{m} ¦ 5 \times 10^{-6} m ¦ 1
3 \Omega ¦ 3 Ω ¦ 1
3 \Omega ¦ 3 ohms ¦ 1
3 \text{ k}\Omega ¦ 3000 Ω ¦ 1
2.5 T ¦ 2.5 tesla ¦ 1
36 km/h ¦ 每小时36公里 ¦ 1
50 \text{ kg}\cdot\text{m/s} ¦ 50 kg m/s ¦ 1
100 \text{ Pa} ¦ 100 N/m^2 ¦ 1
5 L ¦ 5000 cm^3 ¦ 1
5 L ¦ 5 dm^3 ¦ 1
12 cm^2 ¦ 12 cm2 ¦ 1
12 cm^2 ¦ 12平方公分 ¦ 1
60 ¦ 60 km/h ¦ 0 ¦ What is the average speed in miles per hour?
60 ¦ 60 miles ¦ 0 ¦ What is the average speed in miles per hour?
60 ¦ 60 hours ¦ 0 ¦ What is the average speed in miles per hour?
12 ¦ 12 cm ¦ 0 ¦ What is the area, in square centimeters, of the triangle?
12 ¦ 12 m^2 ¦ 0 ¦ What is the area, in square centimeters, of the triangle?
12 ¦ 12 inches ¦ 0 ¦ Find the volume of the box in cubic inches.
45^\circ ¦ \angle A = 45^\circ ¦ 1
[-2,5) ¦ x ≥ -2 or x < 5 ¦ 0
(2,-3) ¦ y=-3, x=2 ¦ 1
(2,-3) ¦ (x,y)=(2,-3) ¦ 1
(a,b)=(1,2) ¦ a=1,b=2 ¦ 1
(a,b)=(1,2) ¦ (1,2) ¦ 1
2A_{16} ¦ 2A ¦ 1 ¦ What is 42 written in base 16?
101101 ¦ 101101_2 ¦ 1 ¦ Convert 45 to binary.
45 ¦ 45_{10} ¦ 1 ¦ Convert 101101_2 to base 10.
3:45 PM ¦ 下午三点四十五分 ¦ 1
2 hours 30 minutes ¦ 2小时30分 ¦ 1
42 ¦ ~~42~~ ¦ 0
42 ¦ *42* ¦ 1
5 ¦ f(2)=5 ¦ 1
\sqrt{50} ¦ 50^{0.5} ¦ 1
\ln\frac{3}{2} ¦ ln(1.5) ¦ 1
5 ¦ 5角 ¦ 0 ¦ 一共多少元？
-5 ¦ 负5 ¦ 1
3:14 ¦ 三点十四分 ¦ 1
12 ¦ 12 boys ¦ 0 ¦ A class has 30 students, 18 of them are boys. How many girls are in the class?
5 ¦ $5 ¦ 0 ¦ How many apples can she buy with $20 if each costs $4?
5 ¦ 5 kg ¦ 0 ¦ How many apples can she buy with $20 if each costs $4?
5 ¦ 5 dollars ¦ 0 ¦ How many apples can she buy with 20 dollars if each costs 4 dollars?
60 ¦ 60 miles ¦ 0 ¦ A car goes 120 miles in 2 hours. What is its average speed?
12 ¦ 12 cm ¦ 0 ¦ A rectangle has sides 3 cm and 4 cm. What is its area?
14 ¦ 14 cm^2 ¦ 0 ¦ A rectangle has sides 3 cm and 4 cm. Find the perimeter of the rectangle.
24 ¦ 24 cm^2 ¦ 0 ¦ A box measures 2 cm by 3 cm by 4 cm. What is the volume of the box?
4 ¦ 4 cm^2 ¦ 0 ¦ The area of a square is 16 cm^2. What is the length of its side?
250 ¦ 250 mL ¦ 0 ¦ How many grams of flour are needed?
250 ¦ 250千克 ¦ 0 ¦ 需要多少克面粉？
250 ¦ 250元 ¦ 0 ¦ 需要多少克面粉？
3 ¦ 3 cm ¦ 0 ¦ What is the probability?
2\pi ¦ 6.283186 ¦ 0
1/7 ¦ 0.142858 ¦ 0
100\pi ¦ 314.160 ¦ 0
\frac{\pi}{10^{30}} ¦ \frac{2\pi}{10^{30}} ¦ 0
\frac{\sqrt{2}}{10^{25}} ¦ 0 ¦ 0
10^{-26}\sqrt{2} ¦ 10^{-26}\sqrt{3} ¦ 0
0 ¦ \frac{\pi}{10^{30}} ¦ 0
(2,-3) ¦ y=2, x=-3 ¦ 0
(1,2,3) ¦ z=1, y=2, x=3 ¦ 0
42 ¦ Incorrect = 42 ¦ 0
42 ¦ upper bound = 42 ¦ 0
42 ¦ maybe = 42 ¦ 0
42 ¦ maybe x = 42 ¦ 0
42 ¦ guess = 42 ¦ 0
42 ¦ False = 42 ¦ 0
42 ¦ approx = 42 ¦ 0
42 ¦ anything except = 42 ¦ 0
42 ¦ \boxed{42}% ¦ 0
42 ¦ \boxed{42}\% ¦ 0
42 ¦ -\boxed{42} ¦ 0
42 ¦ - \boxed{42} ¦ 0
42 ¦ 1/\boxed{42} ¦ 0
42 ¦ \boxed{42}^2 ¦ 0
42 ¦ \sqrt{\boxed{42}} ¦ 0
42 ¦ \boxed{42} million ¦ 0
42 ¦ \boxed{42} x ¦ 0
42 ¦ x > \boxed{42} ¦ 0
42 ¦ x \ge \boxed{42} ¦ 0
42 ¦ x \geq \boxed{42} ¦ 0
42 ¦ less than \boxed{42} ¦ 0
42 ¦ at least \boxed{42} ¦ 0
42 ¦ \boxed{42} cm ¦ 0 ¦ How many meters?
42 ¦ --42 ¦ 0
42 ¦ ++42 ¦ 0
42 ¦ - -42 ¦ 0
42 ¦ 42^\circ C ¦ 0 ¦ What is the angle in degrees?
2 ¦ 4^{1/2} ¦ 0 ¦ Compute the square root of 4.
2 ¦ \sqrt{4} ¦ 0 ¦ Compute the square root of 4.
(x+1)^2 ¦ 1+2x+x^2 ¦ 0 ¦ Factor $x^2+2x+1$.
1.5 ¦ 1.5 minutes ¦ 0 ¦ Convert 90 minutes to hours.
2500 ¦ 2500 km ¦ 0 ¦ Convert 2.5 km to meters.
x=5 ¦ 2x=10 ¦ 0 ¦ Solve 2x+3=13.
113 ¦ m+n=113 ¦ 1 ¦ The probability is m/n in lowest terms. Find m+n.
113 ¦ $m + n = 113$ ¦ 1 ¦ The probability is $\frac{m}{n}$ in lowest terms. Find $m+n$.
113 ¦ 100m+n = 113 ¦ 1 ¦ Find 100m+n.
6 ¦ f(2) = 6 ¦ 1 ¦ Find f(2).
6 ¦ |AB| = 6 ¦ 1 ¦ Find |AB|.
6 ¦ [ABC] = 6 ¦ 1 ¦ Find [ABC].
45 ¦ \angle ABC = 45^\circ ¦ 1 ¦ Find \angle ABC in degrees.
\frac{2}{3} ¦ \cos\theta = \frac23 ¦ 1 ¦ Find \cos\theta.
4 ¦ x^2 = 4 ¦ 1 ¦ Find x^2.
2月 ¦ 2个月 ¦ 0
5时 ¦ 5小时 ¦ 0
1<x<3 ¦ x>1 or x<3 ¦ 0
1<x<3 ¦ x>1 \text{ or } x<3 ¦ 0
1<x<3 ¦ x>1或x<3 ¦ 0
1<x<3 ¦ x>1 \lor x<3 ¦ 0
(1,3) ¦ x>1 or x<3 ¦ 0
$1.2 million ¦ 1.2 million dollars ¦ 1
₹1,50,000 ¦ ₹150,000 ¦ 1
₹1,50,000 ¦ 150000 rupees ¦ 1
€1.234,50 ¦ €1,234.50 ¦ 1
1,234.5 ¦ 1.234,5 ¦ 1
1'000 ¦ 1000 ¦ 1
20 ¦ 20 feet ¦ 0 ¦ How many square feet of carpet are needed?
20 ¦ 20 weeks ¦ 0 ¦ How many hours per week does she work?
20 ¦ 20 years old ¦ 1 ¦ How old will he be?
20 ¦ 20 m/s ¦ 0 ¦ What was his average speed in mph?
20 ¦ 20 m ¦ 0 ¦ A ball moves 40 m in 2 s. What is its speed?
20 ¦ 20 radians ¦ 0 ¦ What is the measure of angle ABC, in degrees?
20 ¦ 20 cm ¦ 0 ¦ What is the measure of angle ABC, in degrees?
20 ¦ 20 trays ¦ 0 ¦ She baked 4 trays of 5 cookies. How many cookies did she bake?
20 ¦ 20 adults ¦ 0 ¦ How many children are there if there are 5 adults?
20 ¦ 20 blue marbles ¦ 0 ¦ He has 5 blue marbles. How many red marbles does he have?
20 ¦ 20角 ¦ 0 ¦ 每支笔5元，4支笔多少钱？
20 ¦ 20厘米 ¦ 0 ¦ 求面积（单位：平方厘米）。
20 ¦ 20小时 ¦ 0 ¦ 需要几天完成？
4\pi ¦ 4\pi \text{ cm} ¦ 0 ¦ What is the area of the circle in square centimeters?
4\pi ¦ 4\pi inches ¦ 0 ¦ What is the circumference in cm?
7 ¦ a+b = 7 ¦ 1 ¦ Find the value of a+b.
7 ¦ a+b=7 ¦ 1 ¦ If a^2 + b^2 = 25 then what is $a+b$?
7 ¦ a = 7 ¦ 0 ¦ If a+b = 12, find b.
7 ¦ \frac{a}{b} = 7 ¦ 1 ¦ Compute $\frac{a}{b}$.
3 ¦ ≈3 ¦ 0
1/3 ¦ ≈0.333333 ¦ 0
5 ¦ \frac{10}{2} \approx 5 ¦ 0
\frac{22}{7} ¦ 3.142858 ¦ 0
-\frac{1}{3} ¦ -0.333334 ¦ 0
42 ¦ \sqrt{\boxed{42}} ✓ ¦ 0
42 ¦ \boxed{42}\% of them ¦ 0
42 ¦ \boxed{42} million people ¦ 0
-42 ¦ -\boxed{42} ¦ 1
42 ¦ \frac{\boxed{42}}{2} ¦ 0
42 ¦ \frac{1}{\boxed{42}} ¦ 0
21 ¦ \frac{\boxed{42}}{2} ¦ 1
42 ¦ 10^{\boxed{42}} ¦ 0
42 ¦ e^{\boxed{42}} ¦ 0
42 ¦ \ln\boxed{42} ¦ 0
42 ¦ x < \boxed{42} ¦ 0
42 ¦ $x<\boxed{42}$ for all $n$ ¦ 0
42 ¦ \boxed{42} > x ¦ 0
42 ¦ \boxed{42} \pm 1 ¦ 0
42 ¦ \pm\boxed{42} ¦ 0
42 ¦ \boxed{42}_8 ¦ 0
42 ¦ \boxed{42}i ¦ 0
42 ¦ \boxed{42}\pi ¦ 0
42\pi ¦ \boxed{42}\pi ¦ 1
42 ¦ \boxed{42}\sqrt{2} ¦ 0
42 ¦ no more than \boxed{42} ¦ 0
42 ¦ approximately $\boxed{42}$ ¦ 0
42 ¦ It can't be \boxed{42} ¦ 0
42 ¦ cannot be \boxed{42} ¦ 0
42 ¦ rather than \boxed{42} ¦ 0
42 ¦ instead of \boxed{42} ¦ 0
42 ¦ anything but \boxed{42} ¦ 0
42 ¦ \boxed{42} is false ¦ 0
42 ¦ 答案大于\boxed{42} ¦ 0
42 ¦ \boxed{42}万 ¦ 0
x^2+1 ¦ $\boxed{x^2+1} + C$ ¦ 0
x^2+C ¦ $\boxed{x^2} + C$ ¦ 1
5 cm ¦ \boxed{5} m ¦ 0
5 cm ¦ \boxed{5}~\mathrm{cm}^2 ¦ 0
$5 ¦ €\boxed{5} ¦ 0
1250 ¦ 1,250 dollars ¦ 1 ¦ How much money does she make in dollars?
18 ¦ 18 ducks ¦ 1 ¦ How many ducks does she own?
540 ¦ 540 meters ¦ 1 ¦ James runs 3 sprints of 60 meters 3 times a week. How many total meters does he run a week?
160 ¦ 160 minutes ¦ 1 ¦ How many minutes does it take?
3 ¦ 3 bolts ¦ 1 ¦ It takes 2 bolts of blue fiber and half as much white. How many bolts in total does it take?
3 ¦ three bolts ¦ 1 ¦ It takes 2 bolts of blue fiber and half as much white. How many bolts in total does it take?
70000 ¦ $70,000.00 ¦ 1 ¦ How much profit did he make?
60 ¦ 60 miles per hour ¦ 1 ¦ What is the average speed in miles per hour?
12 ¦ 12 cm^2 ¦ 1 ¦ What is the area, in square centimeters, of the triangle?
90 ¦ 90^\circ ¦ 1 ¦ Find the angle in degrees.
20 ¦ 20% ¦ 1 ¦ By what percent did the price increase?
4210_5 ¦ 4210 ¦ 1 ¦ Express the number in base 5.
101101_2 ¦ 101101 ¦ 1 ¦ Convert 45 to binary.
5 ¦ 5人 ¦ 1 ¦ 一共有多少人？
5 ¦ 5元 ¦ 1 ¦ 一共多少元？
6 ¦ 6倍 ¦ 1 ¦ 甲是乙的几倍？
204 ¦ 204 minutes ¦ 1 ¦ Find the number of minutes the walk takes her.
12 ¦ 12 girls ¦ 1 ¦ A class has 30 students, 18 of them are boys. How many girls are in the class?
5 ¦ 5 apples ¦ 1 ¦ How many apples can she buy with $20 if each costs $4?
60 ¦ 60 mph ¦ 1 ¦ A car goes 120 miles in 2 hours. What is its average speed?
60 ¦ 60 miles per hour ¦ 1 ¦ A car goes 120 miles in 2 hours. What is its average speed?
12 ¦ 12 cm^2 ¦ 1 ¦ A rectangle has sides 3 cm and 4 cm. What is its area?
12 ¦ 12 square cm ¦ 1 ¦ A rectangle has sides 3 cm and 4 cm. Find the area of the rectangle.
14 ¦ 14 cm ¦ 1 ¦ A rectangle has sides 3 cm and 4 cm. Find the perimeter of the rectangle.
24 ¦ 24 cm^3 ¦ 1 ¦ A box measures 2 cm by 3 cm by 4 cm. What is the volume of the box?
4 ¦ 4 cm ¦ 1 ¦ The area of a square is 16 cm^2. What is the length of its side?
250 ¦ 250 g ¦ 1 ¦ How many grams of flour are needed?
250 ¦ 250克 ¦ 1 ¦ 需要多少克面粉？
8 ¦ 8分钟 ¦ 1 ¦ 这段路要走多少分钟？
8 ¦ 8 min ¦ 1 ¦ How long, in minutes, does it take?
8 ¦ 8 years ¦ 1 ¦ How old is Tom?
8 ¦ 8岁 ¦ 1 ¦ 小明几岁？
42 ¦ 42^\circ ¦ 1 ¦ What is the angle in degrees?
42 ¦ $42 ¦ 1 ¦ How many dollars does he pay?
12 ¦ 12.0 ¦ 1 ¦ Compute 3 times 4.
75% ¦ 75 ¦ 1 ¦ Write 0.75 as a percent.
1.5 ¦ 1.5 hours ¦ 1 ¦ Convert 90 minutes to hours.
2500 ¦ 2500 m ¦ 1 ¦ Convert 2.5 km to meters.
x=5 ¦ x=5 ¦ 1 ¦ Solve 2x+3=13.
5 ¦ x=5 ¦ 1 ¦ Solve 2x+3=13.
20 ¦ 20 square feet ¦ 1 ¦ How many square feet of carpet are needed?
20 ¦ 20 ft^2 ¦ 1 ¦ How many square feet of carpet are needed?
20 ¦ 20 hours per week ¦ 1 ¦ How many hours per week does she work?
20 ¦ 20 days ¦ 1 ¦ How many days will it take?
20 ¦ 20 miles ¦ 1 ¦ How far did she run, in miles?
20 ¦ 20 miles ¦ 1 ¦ Tom ran 5 miles each day for 4 days. How far did he run?
20 ¦ $20 ¦ 1 ¦ How much did the shirts cost?
20 ¦ 20 dollars ¦ 1 ¦ How much money does he have left?
20 ¦ 20 years ¦ 1 ¦ How old will he be?
20 ¦ 20% ¦ 1 ¦ What percentage of the class passed?
20 ¦ 20 gallons ¦ 1 ¦ The tank holds 50 gallons. How much more water does it need?
20 ¦ 20 mph ¦ 1 ¦ What was his average speed in mph?
20 ¦ 20 miles/hour ¦ 1 ¦ What was his average speed in mph?
20 ¦ 20 m/s ¦ 1 ¦ A ball moves 40 m in 2 s. What is its speed?
20 ¦ 20 N ¦ 1 ¦ What is the force on the 2 kg block?
20 ¦ 20 degrees ¦ 1 ¦ What is the measure of angle ABC, in degrees?
20 ¦ 20^\circ ¦ 1 ¦ What is the measure of angle ABC?
20 ¦ 20 cookies ¦ 1 ¦ She baked 4 trays of 5 cookies. How many cookies did she bake?
20 ¦ 20 people ¦ 1 ¦ How many people are there?
20 ¦ 20 ways ¦ 1 ¦ In how many ways can this be done?
20 ¦ 20 ways ¦ 1 ¦ In how many different ways can this be done?
20 ¦ 20 ways ¦ 1 ¦ Find the number of ways to arrange them.
20 ¦ 20 integers ¦ 1 ¦ Find the number of positive integers less than 100 that are odd.
20 ¦ 20 children ¦ 1 ¦ How many more children than adults are there?
20 ¦ 20 marbles ¦ 1 ¦ How many red marbles does he have?
20 ¦ 20 red marbles ¦ 1 ¦ How many red marbles does he have?
20 ¦ 20 feet ¦ 1 ¦ How many feet tall is the tree?
20 ¦ 20 pounds ¦ 1 ¦ How many pounds does the dog weigh?
20 ¦ 20 pounds ¦ 1 ¦ How many pounds of apples did they sell?
20 ¦ 20 boxes ¦ 1 ¦ How many boxes of pencils does she need?
20 ¦ 20 knives ¦ 1 ¦ How many knives are in the drawer?
20 ¦ 20 units ¦ 1 ¦ What is the distance between A and B?
20 ¦ 20 square units ¦ 1 ¦ What is the area of triangle ABC?
20 ¦ 20 minutes ¦ 1 ¦ How long does it take Bob to mow the lawn, in minutes?
20 ¦ 20 minutes ¦ 1 ¦ Bob mows 2 lawns in 40 minutes. How long does one take?
20 ¦ 20 inches ¦ 1 ¦ The perimeter of a square is 80 inches. How long is a side?
20 ¦ 20元 ¦ 1 ¦ 每支笔5元，4支笔多少钱？
20 ¦ 20平方厘米 ¦ 1 ¦ 求面积（单位：平方厘米）。
20 ¦ 20人 ¦ 1 ¦ 参加比赛的有多少人？
20 ¦ 20名 ¦ 1 ¦ 参加比赛的有多少人？
20 ¦ 20个 ¦ 1 ¦ 有多少个苹果？
20 ¦ 20本 ¦ 1 ¦ 有多少本书？
20 ¦ 20千米 ¦ 1 ¦ 两地相距多少千米？
20 ¦ 20 km ¦ 1 ¦ 两地相距多少千米？
20 ¦ 20公里 ¦ 1 ¦ 两地相距多少千米？
20 ¦ 20天 ¦ 1 ¦ 需要几天完成？
20 ¦ 20岁 ¦ 1 ¦ 爸爸今年多少岁？
4\pi ¦ 4\pi \text{ cm}^2 ¦ 1 ¦ What is the area of the circle in square centimeters?
4\pi ¦ 4\pi cm ¦ 1 ¦ What is the circumference in cm?
7 ¦ b = 7 ¦ 1 ¦ Find the value of b.
7 ¦ ab = 7 ¦ 1 ¦ Compute ab.
3 ¦ ≈3 ¦ 1 ¦ Round to the nearest integer.
3 and 4 ¦ 3 cm and 4 cm ¦ 1 ¦ Find the lengths of both sides in cm.
25 ¦ \boxed{25}\% ¦ 1 ¦ What percent is it?
7 ¦ 七月 ¦ 0
7 ¦ 7月 ¦ 1 ¦ 小明是几月出生的？
7 ¦ 7! / 6! ¦ 1
7 ¦ 3!! ¦ 0
826 ¦ $826 ¦ 1 ¦ They measure to find the volume of the pool and how many gallons it needs. How much will it cost?
93 ¦ $93 ¦ 1 ¦ Each fish needs $1 worth of food a day. How much does she spend in the month of May?
5 ¦ 5 apples ¦ 1 ¦ Each box holds pears. How many apples does Mr. Smith have? Answer with a number.
5 ¦ 5 pears ¦ 0 ¦ Each box holds pears. How many apples does Mr. Smith have? Answer with a number.
63 ¦ 63 chocolate chip cookies ¦ 1 ¦ How many chocolate chip cookies have they made?
(1+10^{-25})\pi ¦ \pi ¦ 0
x+10^{-25} ¦ x ¦ 0
4\pi ¦ 4\pi \text{ square meters} ¦ 1 ¦ What is the largest possible area of the field, in square meters?
4\pi ¦ 4\pi \text{ meters} ¦ 0 ¦ What is the largest possible area of the field, in square meters?
2\sqrt{3} \text{ miles per hour} ¦ 2\sqrt{3} mph ¦ 1
\text{all real numbers} ¦ \mathbb{R} ¦ 1
\text{all real numbers except } 2 ¦ all real numbers ¦ 0
"""
